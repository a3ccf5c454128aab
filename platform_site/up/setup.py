"""Makes the checkout ready to run: virtual environment, locked packages, front-end files. Does only what is due."""

import contextlib
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from environments.pip_settings import uv_environment
from platform_site.environ import CHECKOUT

from .errors import UpError, WrongSetting
from .state import Lock
from .terminal import Terminal

VENV: Final = CHECKOUT / ".venv"
PYTHON: Final = VENV / "bin" / "python"
STAMP: Final = VENV / ".anneal-installed"
REQUIREMENTS: Final = CHECKOUT / "requirements"
RUNTIME: Final = CHECKOUT / "environments" / "runtime"
TAIL_LINES: Final = 15
LAST_WORD_S: Final = 5.0


def prepare(terminal: Terminal, *, tests: bool = False) -> None:
    """Bring the checkout up to date. Several may call at once: one works, the others wait. Raises UpError."""
    lock = Lock(CHECKOUT)
    if not lock.take():
        terminal.say("Waiting for another set-up of this checkout")
        lock.take(wait=True)
    try:
        _make_venv(terminal)
        _install(terminal, "test" if tests else "manager")
        _run([PYTHON, "-m", "platform_site.assets"], "the front-end files could not be prepared")
        _read_settings()
        _collect_static(terminal)
    finally:
        lock.release()


def _make_venv(terminal: Terminal) -> None:
    if PYTHON.exists() and _works(PYTHON):
        return
    terminal.say("Making a virtual environment in .venv")
    try:
        # The library, not its command line, would run in this process: a child keeps it apart.
        _run([sys.executable, "-m", "venv", "--clear", VENV], "the virtual environment could not be made")
    except UpError as error:
        if "ensurepip" in str(error):
            raise UpError(
                f"{sys.executable} has no venv module; install it first "
                "(on Debian and Ubuntu: apt install python3-venv)"
            ) from None
        raise


def _works(python: Path) -> bool:
    test = "import sys, encodings; sys.exit(sys.version_info < (3, 11))"
    return subprocess.run([python, "-c", test], capture_output=True, check=False).returncode == 0


def fingerprint(files: Iterable[Path], *words: str) -> str:
    """A digest of the contents of `files` and of some words."""
    digest = hashlib.sha256("\0".join(words).encode())
    for file in files:
        digest.update(hashlib.sha256(file.read_bytes()).digest() if file.is_file() else b"-")
    return digest.hexdigest()


def _install(terminal: Terminal, lock: str) -> None:
    """Install the hashed lock. The test lock holds all of the manager's, so it counts for both."""
    files = [REQUIREMENTS / "uv.txt", REQUIREMENTS / "verl.txt", RUNTIME / "pyproject.toml"]
    wanted = {name: fingerprint([REQUIREMENTS / f"{name}.txt", *files], str(PYTHON)) for name in ("manager", "test")}
    try:
        installed = json.loads(STAMP.read_text())
    except (OSError, ValueError):
        installed = {}
    if installed.get(lock) == wanted[lock]:
        return
    terminal.say("Installing packages" + (" for the tests" if lock == "test" else ""))
    env = uv_environment(PYTHON)
    pip: list[str | Path] = [
        PYTHON,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "install",
        "--quiet",
        "--require-hashes",
    ]
    _run([*pip, "-r", REQUIREMENTS / "uv.txt"], "the installer uv could not be installed")
    uv: list[str | Path] = [VENV / "bin" / "uv", "pip", "install", "--quiet", "--python", PYTHON]
    _run([*uv, "--require-hashes", "-r", REQUIREMENTS / f"{lock}.txt"], "packages could not be installed", env=env)
    _run(
        [*uv, "--require-hashes", "--no-deps", "-r", REQUIREMENTS / "verl.txt"],
        "verl's configuration could not be installed",
        env=env,
    )
    if (RUNTIME / "pyproject.toml").is_file():
        _run([*uv, "--no-deps", "--editable", RUNTIME], "the runtime package could not be installed", env=env)
    STAMP.write_text(json.dumps({"manager": wanted["manager"], **({"test": wanted["test"]} if lock == "test" else {})}))


def _read_settings() -> None:
    """A wrong one is told by itself, and not as the failure of whatever came across it first."""
    read = (
        "import sys\n"
        "from platform_site.environ import WrongValue\n"
        "try:\n    import platform_site.settings\n"
        "except WrongValue as error:\n    sys.exit(str(error))"
    )
    done = subprocess.run([PYTHON, "-c", read], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise WrongSetting(done.stderr.strip())


def _collect_static(terminal: Terminal) -> None:
    target = CHECKOUT / "staticfiles"
    folders = [CHECKOUT / "static", CHECKOUT / "static-vendor"]
    files = sorted(file for folder in folders for file in folder.rglob("*") if file.is_file())
    names = [f"{file.relative_to(CHECKOUT)}:{file.stat().st_size}:{file.stat().st_mtime_ns}" for file in files]
    wanted = fingerprint([REQUIREMENTS / "manager.txt"], *names)
    stamp = target / ".fingerprint"
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    terminal.say("Collecting static files")
    manage("collectstatic", "--noinput", "--clear", "--verbosity", "0", what="static files could not be collected")
    stamp.write_text(wanted)


def manage(*arguments: str, what: str, show: bool = False) -> None:
    """Run a management command; `show` gives it this terminal. Raises UpError beginning with `what`."""
    _run([PYTHON, CHECKOUT / "manage.py", *arguments], what, show=show)


def _run(argv: list[str | Path], what: str, *, env: Mapping[str, str] | None = None, show: bool = False) -> None:
    """Run a program in the checkout. Raises UpError with the end of what it said when it fails."""
    try:
        child = subprocess.Popen(
            argv,
            cwd=CHECKOUT,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=None if show else subprocess.PIPE,
            stderr=None if show else subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    except OSError as error:
        raise UpError(f"{what}: {argv[0]}: {error.strerror}") from None
    with child:
        try:
            output, _nothing = child.communicate()
        except KeyboardInterrupt:
            # It was interrupted as well, and may have a last word to say.
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(LAST_WORD_S)
            child.kill()
            raise
    if child.returncode:
        said = "" if show else "\n".join(output.strip().splitlines()[-TAIL_LINES:])
        raise UpError(f"{what}" + (f":\n{said}" if said else f" (exit code {child.returncode})"))
