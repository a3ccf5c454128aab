"""A version's file where it is trained on: the store here, a copy in the folder that a cluster shares with us."""

import stat
from pathlib import Path

import pytest

from datasets.models import DatasetCopy, DatasetVersion
from datasets.services import store
from datasets.services.copies import path_on
from environments.transports import LocalTransport, TransportError
from pipelines.services.builtin import install
from tests.pipelines import builders

pytestmark = pytest.mark.django_db


@pytest.fixture
def version() -> DatasetVersion:
    install()
    found: DatasetVersion = DatasetVersion.objects.get(dataset__slug="arithmetic")
    return found


def test_a_cluster_gets_a_private_copy_in_the_shared_folder_once(version: DatasetVersion, tmp_path: Path) -> None:
    host = builders.host("cluster", kind="ray", root=str(tmp_path / "shared"))
    path = Path(path_on(host, version, LocalTransport()))
    assert path.is_relative_to(tmp_path / "shared")
    assert path.read_bytes() == Path(store.path_of(version.sha256, version.format)).read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [found.name for found in path.parent.iterdir()] == [path.name]
    before = path.stat().st_ino
    assert path_on(host, version, LocalTransport()) == str(path)
    assert path.stat().st_ino == before
    assert DatasetCopy.objects.get(host=host).path == str(path)


def test_a_copy_that_was_changed_is_made_again(version: DatasetVersion, tmp_path: Path) -> None:
    host = builders.host("cluster", kind="ray", root=str(tmp_path))
    path = Path(path_on(host, version, LocalTransport()))
    path.write_text("something else")
    path_on(host, version, LocalTransport())
    assert path.stat().st_size == version.size


def test_a_folder_that_cannot_be_written_is_named(version: DatasetVersion, tmp_path: Path) -> None:
    (tmp_path / "datasets").write_text("in the way")
    host = builders.host("cluster", kind="ray", root=str(tmp_path))
    with pytest.raises(TransportError, match="datasets"):
        path_on(host, version, LocalTransport())
