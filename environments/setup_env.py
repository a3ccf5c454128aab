"""The work of setup_local_env.sh. Stdlib only: it runs before anything is installed.

The training environment stands in `.training/` of the checkout: `venv`, the log `setup.log`, and `state.json`,
which says how far a set-up is (`{status: installing|ready|failed, percent, message, python, updated_at, pid, log,
fingerprint}`). One set-up at a time, by a file lock; whoever comes second waits and finds the work done. Each
step is safe to repeat after a kill at any point: a package counts as installed only when its installer said so.
"""

import argparse
import contextlib
import ctypes
import fcntl
import hashlib
import json
import math
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

HERE: Final = Path(__file__).resolve().parent
CHECKOUT: Final = HERE.parent
RUNTIME: Final = HERE / "runtime"
sys.path[:0] = [str(CHECKOUT), str(RUNTIME)]

from environments import verify_env  # noqa: E402 - the path to it has only just been set
from environments.installer_errors import cause  # noqa: E402
from environments.pip_settings import uv_environment  # noqa: E402
from platform_runtime.contract import RunFolder  # noqa: E402
from platform_runtime.status import Status  # noqa: E402

REQUIREMENTS: Final = CHECKOUT / "requirements"
HOME: Final = CHECKOUT / ".training"
PROBE: Final = (
    "import torch, verl.trainer.sft_trainer, gguf, lm_eval.evaluator, lm_eval.models.huggingface; "
    "import platform_runtime.data, platform_runtime.tiny_llama, platform_runtime.smollm2; "
    "print('verl', verl.__version__, 'torch', torch.__version__)"
)
_PR_SET_PDEATHSIG: Final = 1


class SetupError(Exception):
    """The set-up cannot go on. The message is for people and one line."""


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="setup_local_env.sh", description="Set up an environment of this checkout.")
    parser.add_argument("environment", choices=["manager", "training"])
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--cuda", action="store_const", const="cuda", dest="kind", help="for NVIDIA GPUs")
    kind.add_argument("--cpu", action="store_const", const="cpu", dest="kind", help="for the processor alone")
    parser.add_argument(
        "--run", type=RunFolder.at, metavar="FOLDER", help="as the run of that folder: its log, its progress"
    )
    parser.add_argument("--check", action="store_true", help="only compare what is there with version.json")
    options = parser.parse_args(arguments)
    if options.check:
        return verify_env.main(["--manager"] if options.environment == "manager" else [])
    if options.environment == "manager":
        return set_up_manager()
    return set_up_training(options.kind, options.run)


def set_up_manager() -> int:
    """`bin/up` does the same on its way; here it is alone."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from platform_site.up import setup, terminal; "
        "setup.prepare(terminal.Terminal())"
    )
    return subprocess.run([sys.executable, "-P", "-c", code, str(CHECKOUT)], check=False).returncode


def set_up_training(kind: str | None, run: RunFolder | None = None) -> int:
    """Bring `.training` to what the locks say. 0 when it is ready."""
    HOME.mkdir(mode=0o755, exist_ok=True)
    with (HOME / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.stdout.write("Waiting for another set-up of this environment\n")
            fcntl.flock(lock, fcntl.LOCK_EX)
        setup = TrainingSetup(kind, lock, run)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, interrupted)
        try:
            setup.run()
        except (SetupError, OSError) as error:
            setup.progress.fail(str(error))
            return 1
    return 0


def interrupted(number: int, _: Any) -> None:
    raise SetupError(f"interrupted by {signal.Signals(number).name}; run it again to go on")


@dataclass(frozen=True)
class Stage:
    """A part of the work: from `start` to `end` percent, usually `usual_s` seconds long."""

    name: str
    start: int
    end: int
    usual_s: float


VENV: Final = Stage("Making a virtual environment", 1, 6, 4)
UV: Final = Stage("Installing the installer", 6, 10, 3)
TORCH: Final = Stage("Installing torch, the largest part", 10, 50, 30)
PACKAGES: Final = Stage("Installing verl and what it needs", 50, 85, 30)
TRYING: Final = Stage("Trying it out", 85, 99, 20)


class Progress:
    """Writes state.json, a line on standard output for each stage, and the status file of a run."""

    def __init__(self, fingerprint: str, run: RunFolder | None) -> None:
        self.fingerprint = fingerprint
        self.log = Path(run.output_log) if run is not None else HOME / "setup.log"
        self.told = Status(run, unit="percent", total=100, even=False) if run is not None else None
        self.python = HOME / "venv" / "bin" / "python"
        self._percent = 0
        self._said = ""

    def write(self, status: str, percent: int, message: str) -> None:
        self._percent = percent
        state = {
            "status": status,
            "percent": percent,
            "message": message,
            "python": str(self.python),
            "updated_at": time.time(),
            "pid": os.getpid(),
            "log": str(self.log),
            "fingerprint": self.fingerprint,
        }
        descriptor, temporary = tempfile.mkstemp(dir=HOME, prefix=".state.")
        with os.fdopen(descriptor, "w") as file:
            json.dump(state, file, indent=1)
        os.chmod(temporary, 0o644)
        os.replace(temporary, HOME / "state.json")
        if self.told is not None:
            self.told.done(percent)
            if status != "installing":
                self.told.end(failed=status == "failed")
        if message != self._said:
            self._said = message
            sys.stdout.write(f"{percent:3d} % {message}\n")
            sys.stdout.flush()

    def at(self, stage: Stage, elapsed_s: float = 0.0) -> None:
        """Within a stage the bar creeps, ever slower: how long a download takes nobody knows beforehand."""
        share = 1 - math.exp(-1.5 * elapsed_s / stage.usual_s)
        self.write("installing", stage.start + int((stage.end - stage.start) * share), stage.name)

    def fail(self, message: str) -> None:
        # Where not even that can be written, the exit code and this line still tell.
        with contextlib.suppress(OSError):
            self.write("failed", self._percent, message)
        sys.stderr.write(f"The training environment could not be set up: {message}\nThe log is {self.log}\n")


class TrainingSetup:
    """One set-up, under the lock. `kind` is cpu, cuda or None: what is there already, else what the machine has."""

    def __init__(self, kind: str | None, lock: IO[str], run: RunFolder | None) -> None:
        self.lock = lock
        self.keep_log = run is not None
        self.venv = HOME / "venv"
        self.python = self.venv / "bin" / "python"
        self.stamp = HOME / "installed.json"
        self.half_done = HOME / "half-done"
        try:
            self.installed: dict[str, Any] = json.loads(self.stamp.read_text())
        except (OSError, ValueError):
            self.installed = {}
        self.damaged: set[str] = set()
        self.kind = kind or self.installed.get("kind") or ("cuda" if verify_env.find_gpus() else "cpu")
        self.fingerprint = fingerprint(self.kind)
        self.progress = Progress(self.fingerprint, run)

    def run(self) -> None:
        """Raises SetupError, OSError."""
        works = self.works()
        if self.installed and works:
            self.damaged = self.changed_by_others()
        if works and self.installed.get("fingerprint") == self.fingerprint and not self.damaged:
            self.progress.write("ready", 100, "The training environment is ready.")
            return
        with self.progress.log.open("a" if self.keep_log else "w") as log:
            log.write(f"# {time.strftime('%Y-%m-%d %H:%M:%S %z')} {self.kind}, {sys.version}\n")
        self.stamp.unlink(missing_ok=True)
        self.make_venv()
        self.install_uv()
        build = self.install_torch()
        self.install_packages("cuda" if build != "cpu" else "cpu")
        self.try_out()
        write_whole(self.stamp, json.dumps({"fingerprint": self.fingerprint, "kind": self.kind, "build": build}))
        self.progress.write("ready", 100, "The training environment is ready.")

    def changed_by_others(self) -> set[str]:
        """The packages that are no longer what was installed: another version, gone, or verl with other files."""
        folder = verify_env.site_packages(self.python)
        if folder is None:
            return set()
        kind = "cpu" if self.installed.get("build") == "cpu" else "cuda"
        wanted = json.loads((HERE / "version.json").read_text())["training"][kind]
        checks = list(verify_env.compare_packages(verify_env.installed_packages(folder), wanted))
        return {check.name for check in (*checks, verify_env.check_verl(folder)) if check.status == "error"}

    def works(self) -> bool:
        ask = "import sys, encodings; sys.exit(sys.version_info < (3, 11))"
        try:
            return subprocess.run([self.python, "-I", "-c", ask], capture_output=True, check=False).returncode == 0
        except OSError:
            return False

    def make_venv(self) -> None:
        self.progress.at(VENV)
        made = HOME / "venv-made"
        if made.exists() and self.works():
            return
        made.unlink(missing_ok=True)
        self.half_done.unlink(missing_ok=True)
        for name in ("torch-installed", "uv-installed"):
            (HOME / name).unlink(missing_ok=True)
        shutil.rmtree(self.venv, ignore_errors=True)
        self.do(VENV, [sys.executable, "-m", "venv", str(self.venv)])
        made.touch()

    def install_uv(self) -> None:
        def install() -> None:
            self.do(UV, [*self.pip(), "--force-reinstall", "--require-hashes", "-r", str(REQUIREMENTS / "uv.txt")])

        once(HOME / "uv-installed", digest_of(REQUIREMENTS / "uv.txt"), install)

    def install_torch(self) -> str:
        """By pip: it knows places that uv does not see. Alone: which libraries go with it depends on the build.

        Answers "cpu" or the CUDA version of what came.
        """
        wanted = HOME / "torch.txt"
        lock = REQUIREMENTS / f"training-{self.kind}.txt"
        # "===": a build with a local part (+cpu) counts as newer for pip, and is taken by its own name only.
        wanted.write_text(block(lock, "torch").replace("==", "===", 1))

        def install() -> None:
            # What a kill left of an earlier try is no base to build on: everything is written again.
            options = ["--no-deps", "--no-compile", "--force-reinstall", "--require-hashes"]
            if self.kind == "cpu":
                # A tenth of the size, where somebody offers it; asked for by name, since among builds of one
                # version pip takes the one whose hash its index tells.
                small = HOME / "torch-cpu.txt"
                small.write_text(re.sub(r"^(torch===\S+)", r"\1+cpu", wanted.read_text()))
                with contextlib.suppress(SetupError):
                    self.do(TORCH, [*self.pip(), *options, "-r", str(small)])
                    return
            self.do(TORCH, [*self.pip(), *options, "-r", str(wanted)])

        if "torch" in self.damaged:
            (HOME / "torch-installed").unlink(missing_ok=True)
        once(HOME / "torch-installed", digest_of(wanted), install)
        packages = verify_env.site_packages(self.python)
        build = verify_env.torch_build(packages) if packages else None
        if build is None:
            raise SetupError("torch is not there after its installation")
        if self.kind == "cuda" and build == "cpu":
            raise SetupError("the package index gives a CPU build of torch; --cuda needs one with CUDA builds")
        return build

    def install_packages(self, lock_kind: str) -> None:
        """Everything else, from a complete lock. A CUDA build of torch gets the libraries it is linked against."""
        lock = REQUIREMENTS / f"training-{lock_kind}.txt"
        rest = HOME / "packages.txt"
        rest.write_text(lock.read_text().replace(block(lock, "torch"), ""))
        uv = [str(self.venv / "bin" / "uv"), "pip", "install", "--python", str(self.python)]
        again = ["--reinstall"] if self.half_done.exists() else []
        if self.damaged:  # a file that was edited in place is edited in uv's cache, too: they are one by a hard link
            again += ["--no-cache", *(f"--reinstall-package={name}" for name in sorted(self.damaged))]
        self.half_done.touch()
        options = ["--no-deps", "--require-hashes", *again]
        self.do(PACKAGES, [*uv, *options, "-r", str(rest)], env=uv_environment(self.python))
        self.half_done.unlink()

    def try_out(self) -> None:
        """Import what training imports: proves that it works, and compiles it once for all."""
        modules = "platform_runtime.cpu_platform,platform_runtime.verl_hook"
        env = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VERL_"))},
            "PYTHONPATH": str(RUNTIME),
            "VERL_USE_EXTERNAL_MODULES": modules,
        }
        self.do(TRYING, [str(self.python), "-P", "-c", PROBE], env=env, cwd=HOME)
        found = verify_env.report(self.python, manager=False, versions=json.loads((HERE / "version.json").read_text()))
        errors = [f"{check['name']}: {check['message']}" for check in found["checks"] if check["status"] == "error"]
        if errors:
            raise SetupError("; ".join(errors[:3]))

    def pip(self) -> list[str]:
        return [str(self.python), "-m", "pip", "--disable-pip-version-check", "--no-input", "install"]

    def do(
        self, stage: Stage, argv: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: Path = CHECKOUT
    ) -> None:
        """Run a program to its end, its output into the log, the bar creeping. Raises SetupError with the cause."""
        with self.progress.log.open("ab") as log:
            log.write(f"\n$ {' '.join(argv)}\n".encode())
            log.flush()
            begin = log.tell()
            started = time.monotonic()
            # The child keeps the lock as long as it lives: no second set-up beside an orphan of this one.
            child = subprocess.Popen(
                argv,
                env=env,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[self.lock.fileno()],
                preexec_fn=die_with_parent,
            )
            try:
                while True:
                    self.progress.at(stage, time.monotonic() - started)
                    try:
                        code = child.wait(timeout=1.0)
                        break
                    except subprocess.TimeoutExpired:
                        continue
            except BaseException:
                child.kill()
                child.wait()
                raise
        if code:
            raise SetupError(f"{stage.name}: {cause(self.progress.log, begin)}")


def die_with_parent() -> None:
    """A set-up that is killed takes its installer along, so that the next one starts from a still picture."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def fingerprint(kind: str) -> str:
    """What an environment of that kind is made from: locks, Python, machine."""
    digest = hashlib.sha256(f"{kind} {platform.python_version()} {platform.machine()}".encode())
    for name in ("uv", "training-cpu", "training-cuda"):
        digest.update((REQUIREMENTS / f"{name}.txt").read_bytes())
    return digest.hexdigest()


def digest_of(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def once(stamp: Path, wanted: str, work: Callable[[], None]) -> None:
    """Do `work` unless the stamp says that it is done; stamp it afterwards."""
    try:
        if stamp.read_text() == wanted:
            return
    except OSError:
        pass
    work()
    write_whole(stamp, wanted)


def write_whole(file: Path, text: str) -> None:
    temporary = file.with_name(f"{file.name}.new")
    temporary.write_text(text)
    os.replace(temporary, file)


def block(lock: Path, package: str) -> str:
    """The lines of one package in a lock, its hashes included. Raises SetupError."""
    match = re.search(rf"^{re.escape(package)}==.*\n(?:[ \t]+--hash=.*\n)*", lock.read_text(), re.MULTILINE)
    if match is None:
        raise SetupError(f"{lock} does not name {package}")
    return match[0]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
