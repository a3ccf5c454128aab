"""What every test has: a data folder of its own, a real Valkey, an empty database.

Nothing of the platform is patched.
"""

import gc
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import django
import hypothesis
import pytest
import pytest_django
from xdist.scheduler import LoadFileScheduling

# Every process of the tests would compile all it imports anew, which costs it more than what it is started for.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Before Django's settings are read. Each xdist worker is a process, so each has its own folder and its own Valkey.
SANDBOX = Path(tempfile.mkdtemp(prefix="anneal-test-"))
for name in [
    name
    for name in os.environ
    if name.startswith("ANNEAL_") and name not in ("ANNEAL_DATABASE_URL", "ANNEAL_TRAINING_PYTHON")
]:
    del os.environ[name]
os.environ["ANNEAL_DATA_DIR"] = str(SANDBOX / "data")
os.environ["DJANGO_SETTINGS_MODULE"] = "platform_site.settings"

from django.conf import settings  # noqa: E402  the sandbox stands first

# Each client would look at every collected file anew; one that is asked for is looked up then, with the same answer.
settings.WHITENOISE_AUTOREFRESH = True
# Pages are tested as they are in the tree, without a collectstatic before; fast hashes, as no test guesses passwords.
settings.STORAGES["staticfiles"]["BACKEND"] = "django.contrib.staticfiles.storage.StaticFilesStorage"
settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
settings.INSTALLED_APPS.append("tests.flushing")
# Nothing of it has to outlive the machine: no waiting for the disk, as the tests' PostgreSQL does not either.
if not settings.DATABASE_URL:
    options = settings.DATABASES["default"]["OPTIONS"]
    options["init_command"] = options["init_command"].replace("synchronous=NORMAL", "synchronous=OFF")
# One process of the tests stands for several of the platform, each of which has a pool of its own.
if pool := settings.DATABASES["default"].get("OPTIONS", {}).get("pool"):
    pool["max_size"] *= 2
django.setup()
import redis  # noqa: E402
from django.db import connection, connections  # noqa: E402
from django.test.utils import setup_databases, teardown_databases  # noqa: E402

from platform_site import valkey  # noqa: E402
from platform_site.common.roles import ensure_roles  # noqa: E402

from . import flushing  # noqa: E402

# How long an example takes says what else the machine does, and the first of all may have tables of letters to make.
hypothesis.settings.register_profile(
    "anneal", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], print_blob=True
)
hypothesis.settings.load_profile("anneal")

SLOW_FOLDERS = {"browser": "browser", "training": "training", "faults": "faults", "ssh": "ssh"}
SLOW: Final = {*SLOW_FOLDERS.values(), "bench"}
DATABASE: Final = {"db", "transactional_db", "django_db_setup"}
"""Fixtures of what touches the database, beside the mark."""
PLAIN_S: Final = 2
"""What a test takes that says nothing else; hardly any takes as long."""


class ByFile(LoadFileScheduling):
    """A file stays with one worker, as its tests share what is dear to make; and so do all faults, one after the other:
    each wants to be alone with what it kills and fills."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::", 1)[0]
        return "faults" if file.startswith("tests/faults/") else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile | None:
    return ByFile(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What lies in the folder of a slow suite belongs to it. On PostgreSQL, what touches no database proves nothing
    new. Of the slow suites, the files that may take longest come first: no worker has one left when all is done."""
    for item in items:
        if suite := SLOW_FOLDERS.get(_folder(item)):
            item.add_marker(suite)
    if settings.DATABASE_URL:
        idle = [item for item in items if not _touches_database(item)]
        config.hook.pytest_deselected(items=idle)
        items[:] = [item for item in items if _touches_database(item)]
    lengths: Counter[Path] = Counter()
    for item in items:
        if any(item.get_closest_marker(suite) for suite in SLOW):
            lengths[_shared(item)] += _may_take_s(item)
    items.sort(key=lambda item: -lengths[_shared(item)])


def _folder(item: pytest.Item) -> str:
    return item.path.relative_to(Path(__file__).parent).parts[0]


def _shared(item: pytest.Item) -> Path:
    return item.path.parent if _folder(item) == "faults" else item.path


def _touches_database(item: pytest.Item) -> bool:
    fixtures = getattr(item, "fixturenames", ())
    return item.get_closest_marker("django_db") is not None or not DATABASE.isdisjoint(fixtures)


def _may_take_s(item: pytest.Item) -> int:
    limit = item.get_closest_marker("timeout")
    return int(limit.args[0]) if limit is not None else PLAIN_S


def pytest_configure() -> None:
    """What xdist starts inherits the environment, and pytest-django would read the settings there before this file.

    Here and not above: other files that are read before the tests name the settings again.
    """
    os.environ.pop("DJANGO_SETTINGS_MODULE", None)


def pytest_collection_finish() -> None:
    """What is imported by now stays: no collection of garbage has to look at it again and again."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    shutil.rmtree(SANDBOX, ignore_errors=True)


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[valkey.Server]:
    """The embedded Valkey, as the supervisor runs it, on the socket that the settings name."""
    server = valkey.Server(Path(settings.DATA_DIR))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: pytest_django.DjangoDbBlocker) -> Iterator[None]:
    """The roles are there from the start, as in an installation.

    pytest-django makes the database only when it sees tests that ask for one each; those of the browser share one.
    """
    made = None
    with django_db_blocker.unblock():
        if "common_user" not in connection.introspection.table_names():
            made = setup_databases(verbosity=0, interactive=False, aliases={"default"})
        ensure_roles()
        flushing.remember(connection)
    yield
    if connection.vendor == "postgresql":
        with django_db_blocker.unblock(), connection.cursor() as cursor:
            # What threads of tests left open: a database that is in use cannot be dropped.
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
    if made is not None:
        with django_db_blocker.unblock():
            connections.close_all()
            teardown_databases(made, verbosity=0)


@pytest.fixture(scope="session")
def _messages(valkey_server: valkey.Server) -> Iterator[redis.Redis]:
    """One connection for all tests; it is made anew where a test ended the server."""
    with redis.Redis(unix_socket_path=str(valkey_server.socket)) as client:
        yield client


@pytest.fixture(autouse=True)
def _clean_slate(valkey_server: valkey.Server, _messages: redis.Redis) -> Iterator[None]:
    """No test sees another's messages and files, nor what a thread that was still ending said after it."""
    if valkey_server.running:
        _messages.flushall()
    yield
    for name in ("datasets", "runs"):
        shutil.rmtree(SANDBOX / "data" / name, ignore_errors=True)
    if not valkey_server.running:
        valkey_server.start()  # a test that stopped it failed before it was back: the next ones need it
    _messages.flushall()
