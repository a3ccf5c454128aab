"""What every test has: a data folder of its own, a real Valkey, an empty database.

Nothing of the platform is patched.
"""

import gc
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import django
import pytest
import pytest_django

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
# One process of the tests stands for several of the platform, each of which has a pool of its own.
if pool := settings.DATABASES["default"].get("OPTIONS", {}).get("pool"):
    pool["max_size"] *= 2
django.setup()
import hypothesis  # noqa: E402
import redis  # noqa: E402

from platform_site import valkey  # noqa: E402
from platform_site.common.roles import ensure_roles  # noqa: E402

# How long an example takes says what else the machine does, and the first of all may have tables of letters to make.
hypothesis.settings.register_profile(
    "anneal", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], print_blob=True
)
hypothesis.settings.load_profile("anneal")

SLOW_FOLDERS = {"browser": "browser", "training": "training", "faults": "faults", "ssh": "ssh"}
DATABASE: Final = {"db", "transactional_db", "django_db_setup"}
"""Fixtures of what touches the database, beside the mark."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What lies in the folder of a slow suite belongs to it. On PostgreSQL, what touches no database proves nothing
    new. Files with tests that may take longest come first, so that no worker has one left when the others are done."""
    for item in items:
        folder = item.path.relative_to(Path(__file__).parent).parts[0]
        if folder in SLOW_FOLDERS:
            item.add_marker(SLOW_FOLDERS[folder])
    if settings.DATABASE_URL:
        idle = [item for item in items if not _touches_database(item)]
        config.hook.pytest_deselected(items=idle)
        items[:] = [item for item in items if _touches_database(item)]
    longest: dict[Path, float] = {}
    for item in items:
        longest[item.path] = max(longest.get(item.path, 0.0), _may_take_s(item))
    items.sort(key=lambda item: -longest[item.path])


def _touches_database(item: pytest.Item) -> bool:
    fixtures = getattr(item, "fixturenames", ())
    return item.get_closest_marker("django_db") is not None or not DATABASE.isdisjoint(fixtures)


def _may_take_s(item: pytest.Item) -> float:
    limit = item.get_closest_marker("timeout")
    return float(limit.args[0]) if limit is not None else 0.0


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
def django_db_setup(django_db_setup: None, django_db_blocker: pytest_django.DjangoDbBlocker) -> None:
    """The roles are there from the start, as in an installation; a test that empties the tables makes them anew."""
    with django_db_blocker.unblock():
        ensure_roles()


@pytest.fixture(autouse=True)
def _clean_slate(valkey_server: valkey.Server) -> Iterator[None]:
    """No test sees another's messages and files, nor what a thread that was still ending said after it."""
    if valkey_server.running:
        _forget_messages(valkey_server)
    yield
    for name in ("datasets", "runs"):
        shutil.rmtree(SANDBOX / "data" / name, ignore_errors=True)
    if not valkey_server.running:
        valkey_server.start()  # a test that stopped it failed before it was back: the next ones need it
    _forget_messages(valkey_server)


def _forget_messages(server: valkey.Server) -> None:
    with redis.Redis(unix_socket_path=str(server.socket)) as client:
        client.flushall()
