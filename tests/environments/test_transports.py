"""What the platform may rely on, whether a host is this machine or reached over SSH."""

import hashlib
import json
import os
import socket
import stat
import sys
import threading
from pathlib import Path

import pytest

from environments.models import Host
from environments.transports import Tail, Transport, TransportError, for_host
from environments.transports.streams import opened
from platform_runtime.pruning import Removed
from tests.runtime.checkpoint_files import write_step


@pytest.fixture
def transport(machine: Host) -> Transport:
    return for_host(machine)


@pytest.fixture
def root(machine: Host) -> Path:
    return Path(machine.root)


def test_what_was_written_is_read_from_any_offset(transport: Transport, root: Path) -> None:
    path = f"{root}/a/deep er/file"
    transport.write(path, b"0123456789")
    assert transport.read(path) == b"0123456789"
    assert transport.read(path, 3, 4) == b"3456"
    assert transport.read(path, 10) == b""
    assert transport.read(path, 99) == b""
    with pytest.raises(FileNotFoundError):
        transport.read(f"{root}/nothing")


def test_what_is_new_of_a_file_comes_with_what_it_is(transport: Transport, root: Path) -> None:
    path = f"{root}/file"
    assert transport.tail(path, 0, 10) == (None, b"")
    transport.write(path, b"0123456789")
    about = transport.stat(path)
    assert transport.tail(path, 3, 4) == (about, b"3456")
    assert transport.tail(path, 8, 100) == (about, b"89")
    assert transport.tail(path, 10, 100) == transport.tail(path, 99, 100) == (about, b"")
    (root / "folder").mkdir()
    os.mkfifo(root / "pipe")
    for name in ("folder", "pipe"):
        found, data = transport.tail(f"{root}/{name}", 0, 10)
        assert found is not None
        assert not found.is_file
        assert data == b""


def test_what_is_brought_ahead_is_what_would_have_been_read(transport: Transport, root: Path) -> None:
    transport.write(f"{root}/file", b"0123456789")
    transport.write(f"{root}/other", b"other")
    transport.write(f"{root}/large", b"x" * (5 << 20))
    (root / "folder").mkdir()
    (root / "link").symlink_to(root / "file")
    asked = [Tail(f"{root}/{name}", 2, 8 << 20) for name in ("file", "nothing", "large", "folder", "link", "other")]
    plain = [transport.tail(one.path, one.offset, one.limit) for one in asked]
    with transport.ahead(asked):
        assert [transport.tail(one.path, one.offset, one.limit) for one in asked] == plain
        assert transport.tail(f"{root}/file", 1, 2)[1] == b"12", "and what was not asked for before, too"
    with transport.ahead([]):
        pass


def test_what_was_brought_ahead_is_no_older_than_its_block_and_told_once(transport: Transport, root: Path) -> None:
    one, two = Tail(f"{root}/one", 0, 100), Tail(f"{root}/two", 0, 100)
    for asked in (one, two):
        transport.write(asked.path, b"before")
    with transport.ahead([one, two]):
        transport.tail(one.path, one.offset, one.limit)
        for asked in (one, two):
            transport.write(asked.path, b"after")
        assert transport.tail(one.path, one.offset, one.limit)[1] == b"after"
    assert transport.tail(two.path, two.offset, two.limit)[1] == b"after"


def test_a_file_is_private_and_its_folders_too(transport: Transport, root: Path) -> None:
    transport.write(f"{root}/new/secret", b"x")
    transport.write(f"{root}/new/program", b"x", 0o700)
    modes = [stat.S_IMODE(os.stat(path).st_mode) for path in (root / "new", root / "new/secret", root / "new/program")]
    assert modes == [0o700, 0o600, 0o700]


def test_readers_see_the_old_file_or_the_new_one(transport: Transport, root: Path) -> None:
    path = f"{root}/file"
    transport.write(path, b"a" * 200_000)
    seen: set[bytes] = set()
    stopping = threading.Event()

    def watch() -> None:
        while not stopping.is_set():
            content = Path(path).read_bytes()
            seen.add(content[:1] + bytes([len(set(content))]) + len(content).to_bytes(4, "big"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    for letter in (b"b", b"a") * 10:
        transport.write(path, letter * 200_000)
    stopping.set()
    watcher.join()
    assert seen <= {letter + b"\x01" + (200_000).to_bytes(4, "big") for letter in (b"a", b"b")}


def test_megabytes_come_and_go_unharmed(transport: Transport, root: Path) -> None:
    content = os.urandom(3 << 20)
    transport.write(f"{root}/large", content)
    assert transport.read(f"{root}/large", 0, 4 << 20) == content
    with opened(transport, f"{root}/large") as file:
        assert hashlib.sha256(file.read()).digest() == hashlib.sha256(content).digest()


def test_a_name_is_taken_once(transport: Transport, root: Path) -> None:
    path = f"{root}/run/claim"
    answers: list[bool] = []
    threads = [
        threading.Thread(target=lambda mine: answers.append(transport.create_exclusive(path, mine)), args=(b"%d" % n,))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [False] * 7 + [True]
    assert len(transport.read(path)) == 1
    assert transport.listdir(f"{root}/run") == ["claim"]


def test_what_is_there_is_told_and_what_is_not(transport: Transport, root: Path) -> None:
    transport.write(f"{root}/folder/file", b"four")
    found = transport.stat(f"{root}/folder/file")
    known = os.stat(root / "folder/file")
    assert found is not None
    assert (found.size, found.inode, found.mtime_ns, found.is_file) == (4, known.st_ino, known.st_mtime_ns, True)
    folder = transport.stat(f"{root}/folder")
    assert folder is not None
    assert not folder.is_file
    assert transport.stat(f"{root}/nothing") is None
    assert transport.stat(f"{root}/folder/file/below") is None
    assert transport.is_folder(f"{root}/folder")
    assert not transport.is_folder(f"{root}/folder/file")
    assert transport.listdir(f"{root}/folder") == ["file"]
    assert transport.listdir(f"{root}/nothing") == []


def test_a_link_to_a_folder_is_no_folder(transport: Transport, root: Path) -> None:
    (root / "link").symlink_to("/etc")
    assert not transport.is_folder(f"{root}/link")


def test_a_symbolic_link_in_a_files_place_is_not_followed(transport: Transport, root: Path) -> None:
    (root / "secret_key").write_text("the key")
    (root / "output.log").symlink_to(root / "secret_key")
    with pytest.raises(TransportError, match="symbolic link"):
        transport.read(f"{root}/output.log")


def test_a_pipe_in_a_files_place_holds_nobody(transport: Transport, root: Path) -> None:
    os.mkfifo(root / "output.log", 0o666)
    (root / "output.log").chmod(0o666)
    with pytest.raises(TransportError, match="not a regular file"):
        transport.read(f"{root}/output.log")


def test_a_tree_is_removed_and_what_a_link_leads_to_stays(transport: Transport, root: Path, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("kept")
    transport.write(f"{root}/tree/below/file", b"x")
    os.symlink(tmp_path, root / "tree/link")
    transport.remove_tree(f"{root}/tree")
    assert transport.stat(f"{root}/tree") is None
    assert (tmp_path / "kept").read_text() == "kept"
    transport.remove_tree(f"{root}/tree")


def test_a_file_in_a_folders_place_is_named(transport: Transport, root: Path) -> None:
    transport.write(f"{root}/file", b"x")
    with pytest.raises(TransportError, match="a file stands where a folder should be"):
        transport.write(f"{root}/file/below", b"x")


def test_a_file_that_comes_in_pieces_is_there_when_it_is_whole(transport: Transport, root: Path) -> None:
    content, path = os.urandom(100_000), f"{root}/data/set"
    sha256 = hashlib.sha256(content).hexdigest()
    assert transport.part_size(path) == 0
    transport.add_part(path, 0, content[:60_000])
    assert transport.stat(path) is None
    assert transport.part_size(path) == 60_000
    assert transport.add_part(path, 60_000, content[60_000:]) == 100_000
    assert transport.add_part(path, 60_000, content[60_000:]) == 100_000
    assert transport.end_part(path, sha256)
    assert transport.digest(path) == sha256
    assert transport.listdir(f"{root}/data") == ["set"]


def test_a_file_that_arrived_otherwise_than_it_was_is_thrown_away(transport: Transport, root: Path) -> None:
    path = f"{root}/data/set"
    transport.add_part(path, 0, b"something else")
    assert not transport.end_part(path, hashlib.sha256(b"it").hexdigest())
    assert transport.digest(path) is None
    assert transport.listdir(f"{root}/data") == []


NASTY = ["$(id)", "`id`", "a b", "-rf", "new\nline", "quo'te\"", "*", "\\", "ünïcode", ";true", "&"]


def test_arguments_arrive_as_they_were_given(transport: Transport, root: Path) -> None:
    code = "import sys, os, json; print(json.dumps([sys.argv[1:], dict(os.environ), os.getcwd(), sys.stdin.read()]))"
    python = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
    done = transport.run(
        [python, "-I", "-X", "utf8", "-c", code, *NASTY], env={"ONLY": "$HOME"}, cwd=str(root), input=b"in"
    )
    assert done.code == 0, done.stderr
    argv, env, cwd, said = json.loads(done.stdout)
    assert argv == NASTY
    assert {name: value for name, value in env.items() if name != "LC_CTYPE"} == {"ONLY": "$HOME"}
    assert (cwd, said) == (os.path.realpath(root), "in")


def test_how_a_program_ended_is_told(transport: Transport, root: Path) -> None:
    done = transport.run(["/bin/sh", "-c", "echo out; echo err >&2; exit 3"], env={}, cwd=str(root))
    assert (done.code, done.stdout, done.stderr) == (3, b"out\n", b"err\n")
    with pytest.raises(TransportError, match="cannot be started"):
        transport.run(["/no/such/program"], env={})
    with pytest.raises(TransportError, match="did not end within"):
        transport.run(["/bin/sleep", "20"], env={}, timeout_s=0.2)


@pytest.mark.parametrize("name", NASTY)
def test_names_of_files_are_taken_to_the_letter(transport: Transport, root: Path, name: str) -> None:
    transport.write(f"{root}/{name}/{name}", name.encode())
    assert transport.listdir(f"{root}/{name}") == [name]
    assert transport.read(f"{root}/{name}/{name}") == name.encode()


def test_many_runs_are_probed_at_once(transport: Transport, root: Path) -> None:
    found = transport.probe([f"{root}/runs/{n}/attempt-1" for n in range(50)])
    assert [one["exists"] for one in found] == [False] * 50


def test_checkpoints_are_told_and_removed(transport: Transport, root: Path) -> None:
    for step in (2, 4):
        write_step(root / "runs/one/checkpoints/attempt-1", step)
    for folder, _names, files in os.walk(root / "runs"):
        os.chown(folder, root.stat().st_uid, -1)
        for file in files:
            os.chown(f"{folder}/{file}", root.stat().st_uid, -1)
    run = f"{root}/runs/one"
    assert [(one.step, one.ok) for one in transport.checkpoints(run, [1])] == [(2, True), (4, True)]
    assert transport.last_checkpoint(f"{run}/checkpoints/attempt-1") == 4
    removed = transport.remove_checkpoints(run, [(1, 2)])
    assert [(one.attempt, one.step) for one in removed] == [(1, 2)]
    assert isinstance(removed[0], Removed)


def test_what_the_machine_is_is_told(transport: Transport, root: Path) -> None:
    found = transport.facts(str(root), "")
    assert found["hostname"] == socket.gethostname()
    assert found["cpus"] >= 1
    assert 0 < found["disk_free"] <= found["disk_total"]
    assert found["training"] == {}


def test_packages_are_seen_where_the_training_python_keeps_them(transport: Transport, root: Path) -> None:
    """As a system's Python does, or one behind a script."""
    python, packages = root / "bin" / "training-python", root / "opt" / "packages"
    transport.write(str(python), f'#!/bin/sh\nPYTHONPATH="{packages}" exec /usr/bin/python3 "$@"\n'.encode())
    python.chmod(0o755)
    assert transport.facts(str(root), str(python))["training"] == {"python": str(python)}
    for name, version in (("torch", "2.13.0"), ("verl", "0.9.1"), ("vllm", "0.12")):
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode()
        transport.write(f"{packages}/{name}-{version}.dist-info/METADATA", metadata)
    seen = {"python": str(python), "torch": "2.13.0", "verl": "0.9.1"}
    assert transport.facts(str(root), str(python))["training"] == seen
    assert transport.facts(str(root), "bin/training-python")["training"] == seen, "relative to the root"
