"""What bin/up decides before it does anything: what is due, where packages come from, which logs are too long."""

import ast
import hashlib
import re
import subprocess
import sys
import threading
from collections.abc import Iterable
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from environments.pip_settings import translate
from platform_site.environ import CHECKOUT
from platform_site.supervisor import rotate
from platform_site.up.setup import fingerprint
from platform_site.up.state import Child, Lock, State, read, write

REQUIREMENTS = CHECKOUT / "requirements"
LOCKS = ["uv", "verl", "base", "manager", "test"]


def _digest(file: Path) -> str:
    """Written anew here: a test that called the program it tests would agree with its mistakes."""

    def lines(path: Path) -> list[str]:
        own = [line.strip() for line in path.read_text().splitlines() if line.strip() and not line.startswith("#")]
        included = [line.removeprefix("-r ").strip() for line in own if line.startswith("-r ")]
        return own + [line for name in included for line in lines(path.parent / name)]

    return hashlib.sha256("\n".join(lines(file)).encode()).hexdigest()[:16]


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_was_made_from_the_requirements_as_they_are(name: str) -> None:
    first = (REQUIREMENTS / f"{name}.txt").read_text().splitlines()[0]
    assert first.endswith(f"Digest of its sources: {_digest(REQUIREMENTS / f'{name}.in')}"), (
        f"requirements/{name}.in has changed: run requirements/lock.sh"
    )


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_package_has_a_version_and_a_hash(name: str) -> None:
    text = (REQUIREMENTS / f"{name}.txt").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    assert lines
    for line in lines:
        assert re.match(r"[a-z0-9][a-z0-9._-]*(\[[a-z,]+\])?==\S+", line), line
        assert "--hash=sha256:" in line, line


def test_the_locks_hold_what_the_in_files_pin_and_agree_with_each_other() -> None:
    def pins(name: str) -> dict[str, str]:
        found = re.findall(r"^([a-z0-9._-]+)(?:\[[a-z,]+\])?==([^\s;]+)", (REQUIREMENTS / name).read_text(), re.M)
        return dict(found)

    for name in ("base", "manager", "test"):
        wanted, locked = pins(f"{name}.in"), pins(f"{name}.txt")
        assert {key: locked.get(key) for key in wanted} == wanted
    assert pins("base.txt").items() <= pins("manager.txt").items() <= pins("test.txt").items()


def test_pips_settings_are_told_to_uv() -> None:
    listed = (
        "global.index-url='https://mirror.example/simple'\n"
        "global.extra-index-url='https://more.example/simple file:///opt/index'\n"
        "global.find-links='/no/such/folder'\n"
        "global.cert='/etc/passwd'\n"
        "user.timeout='60'\n"
    )
    assert translate(listed, {"SSL_CERT_FILE": "/mine"}) == {
        "UV_DEFAULT_INDEX": "https://mirror.example/simple",
        "UV_INDEX": "https://more.example/simple",
    }
    assert translate(listed, {"UV_NO_INDEX": "1", "SSL_CERT_FILE": "/mine"}) == {}, "wheels from a folder ask nobody"
    assert translate("", {}) == {}


def test_the_fingerprint_follows_contents_and_not_times(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    file.write_text("a")
    first = fingerprint([file], "x")
    file.touch()
    assert fingerprint([file], "x") == first
    assert fingerprint([file], "y") != first
    file.write_text("b")
    assert fingerprint([file], "x") != first
    file.unlink()
    assert fingerprint([file], "x") != first


def test_a_lock_is_held_once_and_gone_with_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    first, second = Lock(path), Lock(path)
    assert first.take()
    assert not second.take()
    first.release()
    assert second.take()
    got = threading.Event()

    def wait() -> None:
        first.take(wait=True)
        got.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    assert not got.wait(0.2)
    second.release()
    assert got.wait(5)
    waiting.join()


def test_a_holder_that_is_killed_releases_the_lock(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from platform_site.up.state import Lock\n"
        "lock = Lock(Path(sys.argv[1])); lock.take(); print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "lock")], cwd=CHECKOUT, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        assert not Lock(tmp_path / "lock").take()
        holder.kill()
        holder.wait()
        assert Lock(tmp_path / "lock").take()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', '{"children": {"web": {"x": 1}}}'])
def test_an_account_that_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    assert read(tmp_path) is None
    (tmp_path / "supervisor.json").write_text(text)
    assert read(tmp_path) is None


def test_an_account_reads_as_it_was_written(tmp_path: Path) -> None:
    account = State(1, "2", "127.0.0.1", 8000, 3.0, {"web": Child(4, "5", 6.0, 7)})
    write(tmp_path, account)
    assert read(tmp_path) == account
    assert account.url == "http://127.0.0.1:8000/"


def test_a_log_is_bounded_while_its_writer_goes_on(tmp_path: Path) -> None:
    file = tmp_path / "web.log"
    with file.open("ab", buffering=0) as writer:
        for number in range(1, 5):
            writer.write(b"%d" % number * 100)
            rotate(file, limit=50, keep=2)
        writer.write(b"end")
    assert file.read_bytes() == b"end"
    assert (tmp_path / "web.log.1").read_bytes() == b"4" * 100
    assert (tmp_path / "web.log.2").read_bytes() == b"3" * 100
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["web.log", "web.log.1", "web.log.2"]


TRAINING_SIDE = ("runtime/platform_runtime", "tests/recipes/judge.py")
"""Runs in the training environment, which has locks of its own."""


def _imported(folders: Iterable[str]) -> dict[str, str]:
    """Top-level package to one of the files that import it."""
    found: dict[str, str] = {}
    for folder in folders:
        for file in sorted((CHECKOUT / folder).rglob("*.py")):
            if any(part in file.as_posix() for part in TRAINING_SIDE):
                continue
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                else:
                    names = [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []
                found.update({name.split(".")[0]: str(file.relative_to(CHECKOUT)) for name in names})
    return found


@pytest.mark.parametrize(
    ("lock", "folders"),
    [
        ("base", ["platform_site", "pipelines", "monitoring", "datasets", "environments", "notifications"]),
        ("test", ["tests"]),
    ],
)
def test_what_the_code_imports_is_locked(lock: str, folders: list[str]) -> None:
    """A package that came with another one, or was installed by hand, is missing on the next machine."""
    ours = {
        "platform_site",
        "pipelines",
        "monitoring",
        "datasets",
        "environments",
        "notifications",
        "platform_runtime",
        "tests",
    }
    pinned = {
        re.sub(r"[-_.]+", "-", name).lower()
        for name in re.findall(r"^([A-Za-z0-9._-]+)", (REQUIREMENTS / f"{lock}.txt").read_text(), re.M)
    } | {"verl"}  # by its own lock
    distributions = packages_distributions()
    missing = {
        package: file
        for package, file in _imported(folders).items()
        if package not in ours | sys.stdlib_module_names
        and not {re.sub(r"[-_.]+", "-", name).lower() for name in distributions.get(package, [])} & pinned
    }
    assert missing == {}
