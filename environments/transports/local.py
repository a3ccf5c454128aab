"""This machine."""

import errno
import os
import shutil
import stat as stat_module
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from platform_runtime import checkpoints, probe, processes, pruning, reaper
from platform_runtime.files import free_bytes
from platform_site.common.outages import is_no_space, no_space

from .base import CommandResult, FileStat
from .errors import TransportError


@contextmanager
def _named_failures(path: str) -> Iterator[None]:
    """Turn the operating system's refusal into one sentence that says what to do."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        if is_no_space(error):
            raise TransportError(no_space(path, _free_above(path))) from error
        hints = {
            errno.EACCES: "no right to write there: check the owner of the folder",
            errno.EPERM: "no right to write there: check the owner of the folder",
            errno.EROFS: "the file system is read-only",
            errno.ENOTDIR: "a file stands where a folder should be",
            errno.ELOOP: "a symbolic link stands where a file or folder should be",
        }
        what = hints.get(error.errno or 0, error.strerror or str(error))
        raise TransportError(f"{path}: {what}") from error


def _free_above(path: str) -> int | None:
    """Free on the volume of `path`, which need not be there yet."""
    return next(
        (free for folder in (Path(path), *Path(path).parents) if (free := free_bytes(str(folder))) is not None), None
    )


class LocalTransport:
    def read(self, path: str, offset: int = 0, limit: int = 1 << 20) -> bytes:
        # Not blocking: a FIFO left in a file's place must not hold the reader. Following no link: a run could
        # have its log shown from a file that the platform may read and the run's author may not.
        with _named_failures(path):
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                if not stat_module.S_ISREG(os.fstat(descriptor).st_mode):
                    raise TransportError(f"{path}: not a regular file")
                return os.pread(descriptor, limit, offset)
            finally:
                os.close(descriptor)

    def stat(self, path: str) -> FileStat | None:
        try:
            found = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return FileStat(found.st_size, found.st_ino, found.st_mtime_ns, stat_module.S_ISREG(found.st_mode))

    def is_folder(self, path: str) -> bool:
        try:
            return stat_module.S_ISDIR(os.lstat(path).st_mode)
        except OSError:
            return False

    def listdir(self, path: str) -> list[str]:
        try:
            return sorted(os.listdir(path))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def write(self, path: str, data: bytes, mode: int = 0o600) -> None:
        temporary = self._beside(path, data, mode)
        with _named_failures(path):
            try:
                os.replace(temporary, path)
            except OSError:
                os.unlink(temporary)
                raise

    def create_exclusive(self, path: str, data: bytes) -> bool:
        temporary = self._beside(path, data, 0o600)
        with _named_failures(path):
            try:
                os.link(temporary, path)
            except FileExistsError:
                return False
            finally:
                os.unlink(temporary)
            return True

    def _beside(self, path: str, data: bytes, mode: int) -> str:
        with _named_failures(path):
            target = Path(path)
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
            try:
                with os.fdopen(descriptor, "wb") as file:
                    os.fchmod(descriptor, mode)
                    file.write(data)
                    file.flush()
                    os.fsync(descriptor)
            except BaseException:
                os.unlink(temporary)
                raise
            return temporary

    def remove_tree(self, path: str) -> None:
        with _named_failures(path):
            target = Path(path)
            if target.is_dir() and not target.is_symlink():
                shutil.rmtree(target)
            else:
                target.unlink(missing_ok=True)

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        input: bytes = b"",
        timeout_s: float = 30,
    ) -> CommandResult:
        try:
            done = subprocess.run(
                list(argv), env=env, cwd=cwd, input=input, capture_output=True, timeout=timeout_s, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise TransportError(f"{argv[0]} did not end within {timeout_s:g} s") from error
        except OSError as error:
            raise TransportError(f"{argv[0]} cannot be started: {error.strerror}") from error
        return CommandResult(done.returncode, done.stdout, done.stderr)

    def probe(self, folders: Sequence[str]) -> list[dict[str, Any]]:
        return [probe.probe_run(folder) for folder in folders]

    def bearers(self) -> dict[str, list[int]]:
        return processes.bearers()

    def last_checkpoint(self, folder: str) -> int | None:
        return checkpoints.survey(folder).step

    def checkpoints(self, run: str, attempts: Sequence[int]) -> list[pruning.Found]:
        with _named_failures(run):
            return pruning.survey(run, attempts)

    def remove_checkpoints(self, run: str, chosen: Sequence[tuple[int, int]]) -> list[pruning.Removed]:
        with _named_failures(run):
            return pruning.remove(run, chosen)

    def stop(self, folder: str) -> str:
        return reaper.stop(folder)

    def kill(self, folder: str) -> list[int]:
        return reaper.kill(folder)
