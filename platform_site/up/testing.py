"""`bin/test`: sets up what the tests need, runs them, and stops all it started."""

import argparse
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from platform_site.environ import CHECKOUT

from . import setup, training
from .errors import UpError
from .postgresql import Cluster, find_programs
from .terminal import Terminal

SLOW: Final = "browser or training or faults or ssh or bench"
"""Suites with processes of their own."""
WORKERS: Final = ["-n", str(min((os.cpu_count() or 1) + 1, 8))]
"""One more than there are cores, since many a test waits for a process or for its time. Each takes 300 MB."""
BY_FILE: Final = [*WORKERS, "--dist", "loadfile", "--no-loadscope-reorder"]
"""In the order of tests/conftest.py: xdist's own begins with the files of most tests, which are not the longest."""
PACKAGES: Final = {
    "chromium": ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"],
    "openssh-server": ["/usr/sbin/sshd"],
    "iproute2": ["ip", "/usr/sbin/ip"],
    "postgresql": [],
}
NO_TESTS_FOUND: Final = 5
"""pytest's exit code when the arguments select nothing: fine for one of two halves."""


def main(argv: Sequence[str]) -> int:
    """Returns pytest's exit code, or 1 when the set-up failed."""
    options, extra = _parse(argv)
    terminal = Terminal()
    try:
        setup.prepare(terminal, tests=True)
        if options.suite != "fast":
            _system_packages(terminal)
        if options.suite == "all":
            _training_environment(terminal)
        if options.suite == "fast":
            return _pytest([*WORKERS, "-m", f"not ({SLOW})", *extra])
        if options.suite == "postgresql":
            return _on_postgresql(terminal, extra)
        return _all(extra)
    except UpError as error:
        terminal.warn(str(error))
        return 1


def _parse(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    own, extra = list(argv), []
    if "--" in own:
        cut = own.index("--")
        own, extra = own[:cut], own[cut + 1 :]
    parser = argparse.ArgumentParser(prog="bin/test", description="Runs the tests. Arguments after -- go to pytest.")
    parser.add_argument("suite", nargs="?", choices=["all", "fast", "postgresql"], default="all")
    return parser.parse_args(own), extra


def _all(extra: list[str]) -> int:
    """The quick tests one by one, wherever a worker is free; browser, training, SSH and benches by file, as a file
    shares what is dear to make, with the faults one after the other beside them. Both run in any case."""
    codes = [
        _pytest([*WORKERS, "-m", f"not ({SLOW})", *extra]),
        _pytest([*BY_FILE, "-m", SLOW, *extra]),
    ]
    failures = [code for code in codes if code not in (0, NO_TESTS_FOUND)]
    if failures:
        return failures[0]
    return 0 if 0 in codes else NO_TESTS_FOUND


def _on_postgresql(terminal: Terminal, extra: list[str]) -> int:
    if find_programs() is None:
        terminal.say("PostgreSQL is not installed and cannot be installed here: its tests are skipped")
        return 0
    with Cluster() as cluster:
        return _pytest([*WORKERS, "-m", f"not ({SLOW})", *extra], ANNEAL_DATABASE_URL=cluster.url)


def _pytest(arguments: list[str], **env: str) -> int:
    command: list[str | Path] = [setup.PYTHON, "-m", "pytest", "-q", *arguments]
    return subprocess.run(command, cwd=CHECKOUT, env={**os.environ, **env}, check=False).returncode


# --- what the tests need ------------------------------------------------------------------------------------


def _system_packages(terminal: Terminal) -> None:
    """Install Debian packages where we may; where we may not, the tests that need them say so and are skipped."""
    missing = [name for name, programs in PACKAGES.items() if not _is_installed(name, programs)]
    if not missing:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        terminal.say(f"Not installed: {', '.join(missing)}; the tests that need them are skipped")
        return
    terminal.say(f"Installing {', '.join(missing)}")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with _no_daemons():
        for command in (
            ["apt-get", "update", "-qq"],
            ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing],
        ):
            done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
            if done.returncode:
                terminal.warn(f"{' '.join(command[:2])} failed: {(done.stderr or done.stdout).strip()[-500:]}")
                return


def _is_installed(name: str, programs: Sequence[str]) -> bool:
    if name == "postgresql":
        return find_programs() is not None
    return any(shutil.which(program) for program in programs)


@contextmanager
def _no_daemons() -> Iterator[None]:
    """Debian starts what it installs; a policy file asks it not to. One that is there stays as it is."""
    policy = Path("/usr/sbin/policy-rc.d")
    made = not policy.exists()
    if made:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        yield
    finally:
        if made:
            policy.unlink(missing_ok=True)


def _training_environment(terminal: Terminal) -> None:
    if os.environ.get("ANNEAL_TRAINING_PYTHON"):
        return
    terminal.say("Setting up the training environment")
    code = subprocess.run(["bash", training.SCRIPT, "training"], cwd=CHECKOUT, check=False).returncode
    if code:
        raise UpError(f"the training environment could not be set up (exit code {code})")
