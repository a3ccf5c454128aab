"""A file stands under its hash, whole or not at all, and once."""

import errno
import hashlib
import io
import os
import stat
import threading
import time

import pytest
from django.db import connection

from datasets.models import DatasetCopy, DatasetVersion
from datasets.services import copies, store
from environments.transports import for_host
from platform_site.common.errors import Invalid, TooLarge

from .files import conversation, jsonl, sums


def files():
    return sorted(path for path in store.root().rglob("*") if path.is_file())


def test_a_version_is_addressed_by_its_content(dataset):
    content = sums(20)
    version = store.add_version(dataset, io.BytesIO(content))
    sha256 = hashlib.sha256(content).hexdigest()
    assert (version.number, version.sha256, version.size, version.rows) == (1, sha256, len(content), 20)
    assert version.columns == ["messages"]
    [file] = files()
    assert file == store.root() / sha256[:2] / f"{sha256}.jsonl"
    assert file.read_bytes() == content
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_the_same_content_again_is_the_same_version(dataset):
    one = store.add_version(dataset, io.BytesIO(sums(3)))
    assert store.add_version(dataset, io.BytesIO(sums(3))) == one
    two = store.add_version(dataset, io.BytesIO(sums(4)))
    assert two.number == 2
    assert len(files()) == 2


def test_an_invalid_file_leaves_nothing_behind(dataset):
    with pytest.raises(Invalid) as caught:
        store.add_version(dataset, io.BytesIO(jsonl(conversation(), {"messages": []})))
    assert "Line 2" in caught.value.message
    assert caught.value.details["errors"][0]["line"] == 2
    assert not files()
    assert not DatasetVersion.objects.exists()


def test_a_file_that_is_too_large_is_cut_off_while_it_is_copied(dataset, settings):
    settings.DATASET_MAX_BYTES = 1000
    with pytest.raises(TooLarge):
        store.add_version(dataset, io.BytesIO(sums(100)))
    assert not files()


class FullDisk(io.RawIOBase):
    """A source on which reading ends as writing does on a full disk."""

    def read(self, size=-1):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_an_interrupted_copy_leaves_nothing_behind(dataset):
    with pytest.raises(OSError, match="No space left"):
        store.add_version(dataset, FullDisk())
    assert not files()


def test_verify_notices_every_change(dataset):
    version = store.add_version(dataset, io.BytesIO(sums(5)))
    file = store.path_of(version.sha256, version.format)
    assert store.verify(version).ok
    content = file.read_bytes()
    file.write_bytes(content[:-1] + b" ")
    assert "changed" in store.verify(version).problem
    file.write_bytes(content[:-1])
    assert "bytes" in store.verify(version).problem
    file.unlink()
    assert "gone" in store.verify(version).problem


def test_a_damaged_file_is_replaced_when_its_content_comes_again(dataset):
    version = store.add_version(dataset, io.BytesIO(sums(5)))
    store.path_of(version.sha256, version.format).write_bytes(b"rot")
    store.add_version(dataset, io.BytesIO(sums(5)))
    assert store.verify(version).ok


@pytest.mark.django_db(transaction=True)
def test_two_at_once_with_the_same_content_make_one_version(dataset):
    results = []

    def add():
        try:
            results.append(store.add_version(dataset, io.BytesIO(sums(50))).number)
        finally:
            connection.close()

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [1, 1, 1, 1]
    assert len(files()) == 1


def test_the_local_copy_is_the_store_and_is_hashed_once(dataset, host):
    version = store.add_version(dataset, io.BytesIO(sums(5)))
    transport = for_host(host)
    path = copies.path_on(host, version, transport)
    assert path == str(store.path_of(version.sha256, version.format))
    verified = DatasetCopy.objects.get().verified_at
    copies.path_on(host, version, transport)
    assert DatasetCopy.objects.get().verified_at == verified


def test_a_copy_that_was_written_to_is_hashed_again_and_refused(dataset, host):
    version = store.add_version(dataset, io.BytesIO(sums(5)))
    transport = for_host(host)
    path = copies.path_on(host, version, transport)
    content = store.path_of(version.sha256, version.format).read_bytes()
    with open(path, "r+b") as file:
        file.write(content[:3] + b"X")
    os.utime(path, (time.time() + 5, time.time() + 5))
    with pytest.raises(Invalid, match="damaged"):
        copies.path_on(host, version, transport)
    assert DatasetCopy.objects.get().verified_at is None
