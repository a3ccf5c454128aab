"""A wrong value in the environment stops the start with one line that names it, and secrets stay out of that line."""

import os
import runpy
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from platform_site import environ
from platform_site.environ import CHECKOUT, Environ, WrongValue
from platform_site.management.commands.worker import STAGE_THREADS, THREADS
from platform_site.up.state import State
from tests.harness import free_port

GOOD_KEY = "x" * 40


def _manage(data: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("ANNEAL_")}
    return subprocess.run(
        [sys.executable, CHECKOUT / "manage.py", *arguments],
        env={**plain, "ANNEAL_DATA_DIR": str(data), **env}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_each_thread_of_a_worker_gets_a_connection_to_postgresql(tmp_path: Path) -> None:
    asks = "from django.conf import settings; print(settings.DATABASES['default']['OPTIONS']['pool']['max_size'])"
    done = _manage(tmp_path, "shell", "-c", asks, ANNEAL_DATABASE_URL="postgresql://u:p@127.0.0.1:9/d")
    assert done.returncode == 0, done.stderr
    loops = 3  # scheduler, watcher and far watcher
    assert int(done.stdout.split()[-1]) >= sum(THREADS.values()) + STAGE_THREADS + loops


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("ANNEAL_PORT", "abc", "not a port"),
        ("ANNEAL_PORT", "0", "not a port"),
        ("ANNEAL_PORT", "65536", "not a port"),
        ("ANNEAL_PORT", "-1", "not a port"),
        ("ANNEAL_TIME_ZONE", "Mars/Olympus", "not a time zone"),
        ("ANNEAL_TIME_ZONE", "../etc/passwd", "not a time zone"),
        ("ANNEAL_SECRET_KEY", "short", "fewer than 32"),
        ("ANNEAL_FERNET_KEYS", "nonsense", "32 bytes"),
        ("ANNEAL_FERNET_KEYS", "A" * 43 + "=,bad", "32 bytes"),
        ("ANNEAL_DATABASE_URL", "mysql://u:hunter2@h/d", "postgresql://"),
        ("ANNEAL_DATABASE_URL", "postgresql:///nohost", "names no host"),
        ("ANNEAL_REDIS_URL", "http://hunter2@h", "redis://"),
        ("ANNEAL_REDIS_URL", "redis://:hunter2@h:port", "not a valid address"),
        ("ANNEAL_ALLOWED_HOSTS", "https://example.org", "not a host name"),
        ("ANNEAL_TRAINING_PYTHON", "python3", "not an absolute path"),
        ("ANNEAL_TRAINING_PYTHON", "/no/such/python", "not a program"),
        ("ANNEAL_TRAINING_PYTHON", "/etc/passwd", "not a program"),
        ("ANNEAL_OTLP_ENDPOINT", "localhost:4317", "http://"),
        ("ANNEAL_HOST_CHECK_S", "-1", "whole number of seconds"),
        ("ANNEAL_ENVIRONMENT_CHECK_S", "daily", "whole number of seconds"),
        ("ANNEAL_ENVIRONMENT_POLICY", "repair", "none of report, update"),
        ("ANNEAL_HTTPS", "maybe", "neither true nor false"),
        ("ANNEAL_PUBLIC_URL", "anneal.example.org", "http://"),
        ("ANNEAL_NOTIFY_NETWORKS", "10.0.0.0/8,everything", "not a network"),
        ("ANNEAL_NOTIFY_NETWORKS", "10.0.0.1/8", "not a network"),
        ("ANNEAL_NOTIFICATIONS_KEEP_S", "-1", "not a whole number"),
        ("ANNEAL_DATA_DIR", "/etc/passwd", "not a folder"),
        ("ANNEAL_DATA_DIR", "/proc/anneal", "cannot be made"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_the_setting_and_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    for set_by_others in [other for other in os.environ if other.startswith("ANNEAL_")]:
        monkeypatch.delenv(set_by_others)
    monkeypatch.setenv("ANNEAL_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv(name, value)
    with pytest.raises(WrongValue) as caught:
        runpy.run_path(str(CHECKOUT / "platform_site" / "settings.py"))
    line = str(caught.value)
    assert "\n" not in line
    assert name in line or name == "ANNEAL_DATA_DIR"
    assert says in line
    assert "hunter2" not in line


def test_the_command_line_says_that_line_alone(tmp_path: Path) -> None:
    done = _manage(tmp_path, "migrate", ANNEAL_PORT="abc")
    assert done.returncode == 1
    assert done.stderr == "anneal: ANNEAL_PORT is wrong: 'abc' is not a port between 1 and 65535\n"
    assert done.stdout == ""


@pytest.mark.parametrize("name", ["ANNEAL_NOTIFY_NETWORKS", "ANNEAL_KL_THRESHOLD"])
def test_bin_up_says_that_line_alone(tmp_path: Path, name: str) -> None:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("ANNEAL_")}
    done = subprocess.run(
        [CHECKOUT / "bin" / "up", "--data", tmp_path / "data", "--port", str(free_port())],
        env={**plain, name: "x"}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"anneal: {name} is wrong: 'x' is ")


def test_links_lead_to_the_address_that_bin_up_prints(tmp_path: Path) -> None:
    done = _manage(
        tmp_path, "shell", "--no-imports", "-c", "from django.conf import settings as s; print(s.PUBLIC_URL)",
        ANNEAL_PORT="8123",
    )  # fmt: skip
    shown = State(1, "", "127.0.0.1", 8123, 0.0).url
    assert done.stdout.strip() == shown.rstrip("/")


def test_secrets_are_made_once_for_their_owner_alone(tmp_path: Path) -> None:
    data = tmp_path / "data"
    read = "from django.conf import settings as s; print(s.SECRET_KEY, *s.FERNET_KEYS)"
    first, second = (_manage(data, "shell", "--no-imports", "-c", read) for _ in range(2))
    assert first.returncode == 0, first.stderr
    assert first.stdout == second.stdout
    assert len(first.stdout.split()[0]) >= 50
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    for name in ("secret_key", "fernet_keys"):
        assert stat.S_IMODE((data / name).stat().st_mode) == 0o600


def test_given_secrets_are_used_and_nothing_is_written(tmp_path: Path) -> None:
    keys = f"{environ.new_fernet_key()}, {environ.new_fernet_key()}"
    done = _manage(
        tmp_path, "shell", "--no-imports", "-c",
        "from django.conf import settings as s; print(s.SECRET_KEY, len(s.FERNET_KEYS), s.REDIS_IS_EMBEDDED)",
        ANNEAL_SECRET_KEY=GOOD_KEY, ANNEAL_FERNET_KEYS=keys, ANNEAL_REDIS_URL="redis://h:1/0",
    )  # fmt: skip
    assert done.stdout.split() == [GOOD_KEY, "2", "False"]
    assert not (tmp_path / "secret_key").exists()
    assert not (tmp_path / "fernet_keys").exists()


def test_processes_that_start_at_once_agree_on_a_secret(tmp_path: Path) -> None:
    made = iter(["first", "second"])
    file = tmp_path / "secret"

    def slow() -> str:
        if not file.exists():
            other = environ.kept_secret(file, lambda: next(made))
            assert other == "first"
        return next(made)

    assert environ.kept_secret(file, slow) == "first"
    assert [entry.name for entry in tmp_path.iterdir()] == ["secret"]


def test_an_empty_variable_counts_as_not_given() -> None:
    assert Environ({"ANNEAL_PORT": " "}).read("ANNEAL_PORT", 8000, environ.port) == 8000


def test_a_data_folder_beyond_the_socket_limit_gets_a_private_socket_elsewhere(tmp_path: Path) -> None:
    near, far = tmp_path / "d", tmp_path / ("d" * 100)
    assert environ.socket_folder(near) == near
    elsewhere = environ.socket_folder(far)
    assert elsewhere != far
    assert len(os.fsencode(elsewhere / "valkey.sock")) <= environ.SOCKET_PATH_LIMIT
    assert elsewhere == environ.socket_folder(far)
    assert elsewhere != environ.socket_folder(tmp_path / ("e" * 100))


def test_a_socket_path_with_a_space_stays_one_address() -> None:
    assert environ.embedded_redis_url(Path("/a b")) == "unix:///a%20b/valkey.sock"


MOUNTS = """\
1 0 8:1 / / rw - ext4 /dev/sda1 rw
2 1 0:5 / /home rw,relatime shared:1 - nfs4 server:/home rw
3 2 8:2 / /home/local\\040disk rw - xfs /dev/sdb1 rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/var/lib", "ext4"), ("/home", "nfs4"), ("/home/me/data", "nfs4"), ("/homeless", "ext4"),
     ("/home/local disk/data", "xfs")],
)  # fmt: skip
def test_the_file_system_of_a_folder_is_that_of_its_nearest_mount(path: str, kind: str) -> None:
    assert environ.file_system_of(Path(path), MOUNTS) == kind


def test_sqlite_on_a_network_file_system_is_refused() -> None:
    environ.refuse_network_file_system(Path("/var"), MOUNTS)
    with pytest.raises(WrongValue, match=r"nfs4.*ANNEAL_DATABASE_URL"):
        environ.refuse_network_file_system(Path("/home/me"), MOUNTS)


def test_sqlite_is_durable_enough_and_never_upgrades_a_lock(tmp_path: Path) -> None:
    done = _manage(
        tmp_path, "shell", "--no-imports", "-c",
        "from django.db import connection as c\n"
        "cursor = c.cursor()\n"
        "print(*[cursor.execute(f'PRAGMA {n}').fetchone()[0] for n in ('journal_mode', 'synchronous', 'busy_timeout')],"
        " c.transaction_mode)",
    )  # fmt: skip
    assert done.stdout.split() == ["wal", "1", "20000", "IMMEDIATE"]


@pytest.mark.parametrize("https", ["", "true"])
def test_deploy_checks_pass_on_loopback_and_behind_https(tmp_path: Path, https: str) -> None:
    done = _manage(tmp_path, "check", "--deploy", "--fail-level", "WARNING", ANNEAL_HTTPS=https)
    assert done.returncode == 0, done.stderr
