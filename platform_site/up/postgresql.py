"""A throw-away PostgreSQL cluster for the tests: on a socket in a temporary folder, gone with its holder."""

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Final
from urllib.parse import quote

from .errors import UpError

FAST: Final = (
    "-c fsync=off -c full_page_writes=off -c synchronous_commit=off -c max_connections=200 -c listen_addresses="
)


def find_programs() -> Path | None:
    """The folder of initdb and pg_ctl: on the PATH, or where Debian keeps them (the newest)."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda file: int(file.parts[-3]))
    return folders[-1].parent if folders else None


class Cluster:
    """A context manager. `url` is an address for ANNEAL_DATABASE_URL."""

    def __init__(self) -> None:
        programs = find_programs()
        if programs is None:
            raise UpError("PostgreSQL is not installed")
        self._programs = programs
        self._folder = Path(tempfile.mkdtemp(prefix="anneal-pg-"))
        # The server refuses to run as root; Debian's package makes it an account.
        self._as_user: list[str] = []
        if os.geteuid() == 0:
            account = pwd.getpwnam("postgres")
            os.chown(self._folder, account.pw_uid, account.pw_gid)
            self._as_user = ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]

    @property
    def url(self) -> str:
        return f"postgresql://anneal@{quote(str(self._folder), safe='')}/anneal"

    def __enter__(self) -> "Cluster":
        data = self._folder / "data"
        try:
            self._run("initdb", "--pgdata", data, "--username", "anneal", "--auth", "trust", "--no-sync", "-E", "UTF8")
            self.start()
            self._run("createdb", "--host", self._folder, "--username", "anneal", "anneal")
        except UpError:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self) -> None:
        self._run(
            "pg_ctl", "start", "--wait", "--pgdata", self._folder / "data", "--log", self._folder / "log",
            "--options", f"{FAST} -c unix_socket_directories='{self._folder}'",
        )  # fmt: skip

    def stop(self) -> None:
        """At once, as if it crashed. One that is down already stays so."""
        if (self._folder / "data" / "postmaster.pid").exists():
            self._run("pg_ctl", "stop", "--mode", "immediate", "--wait", "--pgdata", self._folder / "data")

    def _run(self, program: str, *arguments: str | Path) -> None:
        command = [*self._as_user, self._programs / program, *arguments]
        # The server inherits the outputs and would keep a pipe open for ever: a file has no reader to wait.
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(
                command, cwd=self._folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False
            )
            if done.returncode:
                output.seek(0)
                raise UpError(f"{program} failed: {output.read().decode(errors='replace').strip()[-800:]}")
