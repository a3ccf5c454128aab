"""What a run leaves where the platform reads: regular files, and nothing that leads elsewhere."""

import os
from pathlib import Path

import pytest

from environments.transports import TransportError
from environments.transports.local import LocalTransport


def test_a_symbolic_link_in_a_files_place_is_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret_key"
    secret.write_text("the key")
    (tmp_path / "output.log").symlink_to(secret)

    with pytest.raises(TransportError, match="symbolic link"):
        LocalTransport().read(str(tmp_path / "output.log"))


def test_a_pipe_in_a_files_place_holds_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "output.log")

    with pytest.raises(TransportError, match="not a regular file"):
        LocalTransport().read(str(tmp_path / "output.log"))
