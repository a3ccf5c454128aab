"""A host of each sort: what holds for one holds for the other."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from environments.models import Host
from tests.pipelines import builders
from tests.ssh.hosts import account, make_host, proxy, server, silence

__all__ = ["account", "machine", "make_host", "proxy", "server", "silence"]


@pytest.fixture(params=["local", pytest.param("ssh", marks=pytest.mark.ssh)])
def machine(request: pytest.FixtureRequest, tmp_path: Path, db: None) -> Host:
    """Its root is a folder with a space in its name, and new for each test."""
    if request.param == "local":
        local: Host = builders.host(root=str(tmp_path / "data folder"), python=sys.executable)
        Path(local.root).mkdir()
        return local
    make: Any = request.getfixturevalue("make_host")
    far: Host = make()
    far.root = f"{far.root}/{tmp_path.name} of a test"
    far.save()
    user: Any = request.getfixturevalue("account")
    Path(far.root).mkdir(parents=True)
    for folder in (far.root, os.path.dirname(far.root)):
        os.chown(folder, user.uid, -1)
    return far
