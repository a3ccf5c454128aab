"""Where a run's files may stand: what holds of reading them here holds of reading them over SSH.

A Ray host is not among them: its files are read from the shared folder, by the very class that reads this machine's.
"""

from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

from environments.models import Host
from environments.transports import for_host

from .conftest import Run


@pytest.fixture
def make_run(place: Host) -> Callable[..., Run]:
    return lambda algorithm="": Run(Path(place.root) / uuid4().hex, algorithm, for_host(place))
