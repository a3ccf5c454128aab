"""Who looks at pages, and pipelines to look at."""

from pathlib import Path

import pytest
from django.test import Client

from pipelines.models import Pipeline, Stage
from platform_site.common.roles import Role
from tests.browser import world
from tests.browser.world import LOST_LOOK_UP, noop


@pytest.fixture
def alice() -> Client:
    client = Client()
    client.force_login(world.person("alice", Role.OPERATOR))
    return client


@pytest.fixture
def vera() -> Client:
    client = Client()
    client.force_login(world.person("vera", Role.VIEWER))
    return client


@pytest.fixture
def broken(tmp_path: Path) -> Pipeline:
    stages = (noop("first"), noop("second", "first", result=LOST_LOOK_UP), noop("third", "second"))
    return world.pipeline("Broken", *stages, root=tmp_path)


@pytest.fixture
def wide(tmp_path: Path) -> Pipeline:
    names = [f"s{n:03}" for n in range(118)]
    lanes = (noop(name, "first") for name in names)
    made = world.pipeline("Wide", noop("first"), *lanes, noop("last", *names), root=tmp_path, start=False)
    Stage.objects.filter(pipeline=made, name__in=["first", *names[:60]]).update(status="completed")
    Stage.objects.filter(pipeline=made, name__in=names[60:63]).update(status="failed")
    return made
