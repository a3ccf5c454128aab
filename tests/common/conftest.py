"""Settings of these tests: the platform's own addresses and some probes beside them."""

import pytest
from pytest_django.fixtures import Settings


@pytest.fixture
def probes(settings: Settings) -> None:
    settings.ROOT_URLCONF = "tests.common.probes"
