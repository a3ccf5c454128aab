"""A stream with a real metrics file, read through a real transport: the local one, unless a test takes `places`."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from environments.models import Host
from environments.transports import LocalTransport, Transport
from monitoring.models import Segment, Stream
from monitoring.services.diagnose import refresh
from monitoring.services.sync import SyncResult, open_segment, sync_stream
from platform_site.common.models import Project
from tests.pipelines import builders
from tests.ssh.hosts import account, make_host, root_account, server

__all__ = ["account", "make_host", "root_account", "server"]


class Run:
    """Writes as a trainer does, and syncs as the platform does."""

    def __init__(self, folder: Path, algorithm: str = "", transport: Transport | None = None) -> None:
        project, _ = Project.objects.get_or_create(slug="default", defaults={"name": "Default"})
        self.stream_id = uuid4()
        Stream.objects.create(id=self.stream_id, project=project, algorithm=algorithm)
        self.folder = folder
        self.transport = transport or LocalTransport()

    def attempt(self, number: int = 1, resumed_from: int | None = None) -> Path:
        path = self.folder / f"attempt-{number}" / "metrics" / f"{self.stream_id}_metrics.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        open_segment(self.stream_id, attempt=number, path=str(path), resumed_from=resumed_from)
        return path

    def sync(self) -> SyncResult:
        found = sync_stream(self.stream_id, self.transport)
        refresh(self.stream_id)
        return found

    @property
    def stream(self) -> Stream:
        return Stream.objects.get(pk=self.stream_id)

    def segment(self, attempt: int = 1) -> Segment:
        return Segment.objects.get(stream_id=self.stream_id, attempt=attempt)


@pytest.fixture
def make_run(tmp_path: Path, db: None) -> Callable[..., Run]:
    return lambda algorithm="": Run(tmp_path / uuid4().hex, algorithm)


@pytest.fixture
def run(make_run: Callable[[], Run]) -> Run:
    return make_run()


@pytest.fixture(params=["local", pytest.param("ssh", marks=pytest.mark.ssh)])
def place(request: pytest.FixtureRequest, tmp_path: Path, db: None) -> Host:
    """A host of each sort. Its root is a folder with a space in its name, and new for each test."""
    root = tmp_path / "data folder"
    if request.param == "local":
        local: Host = builders.host(root=str(root), python=sys.executable)
        return local
    make: Any = request.getfixturevalue("make_host")
    far: Host = make(account=request.getfixturevalue("root_account"), root=str(root))
    return far
