"""The content-addressed store: a file stands under its sha256, once, and never changes.

    <DATA_DIR>/datasets/<first two of sha256>/<sha256>.<format>

A file is written aside, hashed while it is written, synced, and only then given its name: what stands under a name
is whole. The same content is kept once, whoever brings it.
"""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from django.conf import settings
from django.db import transaction
from django.db.models import Max
from django.utils.translation import gettext as _

from datasets.models import Dataset, DatasetVersion
from platform_site.common.errors import Invalid, TooLarge

from .validate import Report, max_bytes, validate

JSONL: Final = "jsonl"
_CHUNK: Final = 1 << 20
_MODE: Final = 0o600


@dataclass(frozen=True)
class Staged:
    """A file written aside, not yet in the store."""

    path: Path
    sha256: str
    size: int


@dataclass(frozen=True)
class Verified:
    """Whether a version's file is what it was. `problem` is empty when it is."""

    ok: bool
    problem: str = ""


def root() -> Path:
    return Path(settings.DATA_DIR) / "datasets"


def path_of(sha256: str, format: str) -> Path:
    return root() / sha256[:2] / f"{sha256}.{format}"


@contextmanager
def stage(file: IO[bytes]) -> Iterator[Staged]:
    """Copies `file` aside on the store's own disk, synced. What is not kept is gone afterwards.

    Raises TooLarge, or OSError when the disk does not take it.
    """
    aside = root() / ".incoming"
    aside.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=aside)
    path = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as target:
            os.fchmod(target.fileno(), _MODE)
            sha256, size = _copy(file, target)
            target.flush()
            os.fsync(target.fileno())
        yield Staged(path, sha256, size)
    finally:
        path.unlink(missing_ok=True)


def keep(staged: Staged, format: str = JSONL) -> Path:
    """Gives a staged file its place in the store. One that is there already stays; a damaged one is replaced."""
    target = path_of(staged.sha256, format)
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not intact(target, staged.sha256, staged.size):
        staged.path.replace(target)
        _sync_folder(target.parent)
    return target


def add_version(dataset: Dataset, file: IO[bytes]) -> DatasetVersion:
    """The version of `dataset` with this content: a new one, or the one that has it already.

    What it has already was checked when it came. Raises Invalid with the wrong lines, TooLarge, OSError. Nothing is
    left behind then.
    """
    with stage(file) as staged:
        known = DatasetVersion.objects.filter(dataset=dataset, sha256=staged.sha256).first()
        if known is not None:
            keep(staged)
            return known
        report = checked(staged, dataset.kind)
        keep(staged)
        return record(dataset, staged, report)


def adopt(dataset: Dataset, file: IO[bytes], *, sha256: str, report: Report) -> DatasetVersion:
    """The version with a content that a program of ours made and has described already: it is compared by its hash,
    and not checked row by row once more. Raises Invalid when it is not that content, TooLarge, OSError.
    """
    with stage(file) as staged:
        if staged.sha256 != sha256:
            raise Invalid(_("The file is not what the program that made it wrote."), code="dataset_damaged")
        keep(staged)
        return record(dataset, staged, report)


def held(dataset: Dataset, sha256: str) -> DatasetVersion | None:
    """The version with this content, if the dataset has one and its file is there."""
    version = DatasetVersion.objects.filter(dataset=dataset, sha256=sha256).first()
    if version is None:
        return None
    try:
        present = path_of(version.sha256, version.format).stat().st_size == version.size
    except OSError:
        present = False
    return version if present else None


def checked(staged: Staged, kind: str) -> Report:
    """The report on a staged file. Raises Invalid when it is not valid."""
    with staged.path.open("rb") as content:
        report = validate(content, kind)
    if report.valid:
        return report
    first = report.problems[0]
    where = _("Line %(line)d: %(problem)s") % {"line": first.line, "problem": first.message}
    message = where if first.line else first.message
    raise Invalid(
        message,
        {"file": [message]},
        code="invalid_data",
        details={"errors": [{"line": problem.line, "message": problem.message} for problem in report.problems]},
    )


@transaction.atomic
def record(dataset: Dataset, staged: Staged, report: Report) -> DatasetVersion:
    """The row of a file that the store has. Its number is the next one; the dataset's row is locked meanwhile."""
    Dataset.objects.select_for_update().get(pk=dataset.pk)
    versions = DatasetVersion.objects.filter(dataset=dataset)
    known = versions.filter(sha256=staged.sha256).first()
    if known is not None:
        return known
    return DatasetVersion.objects.create(
        dataset=dataset,
        number=(versions.aggregate(last=Max("number"))["last"] or 0) + 1,
        sha256=staged.sha256,
        size=staged.size,
        rows=report.rows,
        columns=report.columns,
        format=JSONL,
        stats=report.stats,
    )


def verify(version: DatasetVersion) -> Verified:
    """Reads the whole file again and compares it with what was recorded."""
    path = path_of(version.sha256, version.format)
    try:
        size = path.stat().st_size
        if size != version.size:
            return Verified(
                False,
                _("The file has %(size)d bytes instead of %(expected)d.") % {"size": size, "expected": version.size},
            )
        if _sha256(path) != version.sha256:
            return Verified(False, _("The file's content has changed."))
    except FileNotFoundError:
        return Verified(False, _("The file is gone."))
    except OSError as error:
        return Verified(False, _("The file cannot be read: %(problem)s.") % {"problem": error.strerror})
    return Verified(True)


def intact(path: Path, sha256: str, size: int) -> bool:
    """Whether this file is there with this content."""
    try:
        return path.stat().st_size == size and _sha256(path) == sha256
    except OSError:
        return False


def too_large() -> TooLarge:
    return TooLarge(_("The file is larger than the %(limit)s bytes that are taken.") % {"limit": f"{max_bytes():,}"})


def _copy(source: IO[bytes], target: IO[bytes]) -> tuple[str, int]:
    digest, size, limit = hashlib.sha256(), 0, max_bytes()
    while chunk := source.read(_CHUNK):
        size += len(chunk)
        if size > limit:
            raise too_large()
        digest.update(chunk)
        target.write(chunk)
    return digest.hexdigest(), size


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
