"""A person, and a server on this machine that messages may be sent to."""

import ipaddress
from collections.abc import Iterator

import pytest
from pytest_django.fixtures import Settings

from platform_site.common.models import User
from tests import people

from .servers import Web


@pytest.fixture
def loopback(settings: Settings) -> None:
    settings.NOTIFY_NETWORKS = [ipaddress.ip_network("127.0.0.1/32")]
    settings.PUBLIC_URL = "https://anneal.example.org"


@pytest.fixture
def alice() -> User:
    return people.alice()


@pytest.fixture
def web() -> Iterator[Web]:
    with Web() as running:
        yield running
