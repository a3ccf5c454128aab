"""Clean, de-duplicate and split a JSONL file; memory stays bounded, and the same input gives the same bytes.

`python -P -m platform_runtime.preprocess ATTEMPT_FOLDER` reads `task.json` there and leaves `output/train.jsonl`,
`output/validation.jsonl` where a split was asked for, and at last `result.json`. Needs the standard library alone.
A file that cannot be used ends it with 65 and a `result.json` that says why.

A line that cleaning changes nothing of stays as it was, byte by byte: a clean dataset stays what it is.
"""

import contextlib
import hashlib
import json
import os
import sqlite3
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import IO, Any, Final, Self

from platform_runtime import files, rows
from platform_runtime.contract import RunFolder
from platform_runtime.message import ContractError, Message
from platform_runtime.rows import BadRowError, Columns, EmptyRowError, Tally
from platform_runtime.status import Status

TASK: Final = "task.json"
OUTPUT: Final = "output"
TRAIN: Final = "train"
VALIDATION: Final = "validation"
BAD_DATA: Final = 65
MOST_QUOTED: Final = 20
_EXCERPT: Final = 200
_CACHE_KIB: Final = 65536


@dataclass(frozen=True)
class Task(Message):
    """task.json. `rows`: how many there are, where that is known; it serves progress alone.

    `names` are for whoever takes the outputs: what each is to be called.
    """

    input: str
    kind: str
    uuid: str
    rows: int | None = None
    clean: bool = True
    deduplicate: bool = True
    validation_fraction: float = 0.0
    seed: int = 0
    min_chars: int | None = None
    max_chars: int | None = None
    names: dict[str, str] = field(default_factory=dict)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        try:
            return cls(**{name: data[name] for name in cls.__dataclass_fields__ if name in data})
        except TypeError as error:
            raise ContractError(str(error)) from error


@dataclass(frozen=True)
class Output:
    """A file that was made, relative to the attempt's folder, and what is in it."""

    path: str
    rows: int
    columns: list[str]
    stats: dict[str, Any]
    sha256: str
    size: int


@dataclass(frozen=True)
class BadRow:
    line: int
    why: str
    excerpt: str


@dataclass
class Result:
    """result.json. `dropped_by`: empty, malformed, too_short, too_long, duplicate. `bad_rows`: the first ones."""

    rows_in: int = 0
    rows_out: int = 0
    changed: int = 0
    dropped_by: dict[str, int] = field(default_factory=dict)
    bad_rows: list[BadRow] = field(default_factory=list)
    outputs: dict[str, Output] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        told = {**asdict(self), "dropped": self.rows_in - self.rows_out}
        return (json.dumps(told, indent=1, sort_keys=True) + "\n").encode()


class BadDataError(ValueError):
    """The file cannot be used as a whole: trying again helps nobody. The message is for people."""


class _Writer:
    """A JSONL file that gets its name when it is whole. Left before that, nothing of it stays."""

    def __init__(self, path: str, kind: str) -> None:
        self.path = path
        self._part = f"{path}.part"
        self._file: IO[bytes] = open(self._part, "wb")  # noqa: SIM115 - closed on leaving
        self._digest = hashlib.sha256()
        self._size = 0
        self._columns, self._tally = Columns(), Tally(kind)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._file.close()
        files.remove(self._part)

    def add(self, line: bytes, row: rows.Row) -> None:
        line += b"\n"
        self._file.write(line)
        self._digest.update(line)
        self._size += len(line)
        self._tally.add(row)
        self._columns.add(self._tally.rows, row)

    def finish(self, root: str) -> Output:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self._part, self.path)
        return Output(
            path=os.path.relpath(self.path, root),
            rows=self._tally.rows,
            columns=self._columns.names,
            stats=self._tally.stats(),
            sha256=self._digest.hexdigest(),
            size=self._size,
        )


class _Memory:
    """What was seen, on disk: a set of hashes and the keys of the split, whatever their number."""

    def __init__(self, path: str) -> None:
        self._path = path
        files.remove(path)
        self._database = sqlite3.connect(path, isolation_level=None)
        for line in (
            "PRAGMA journal_mode=OFF",
            "PRAGMA synchronous=OFF",
            f"PRAGMA cache_size=-{_CACHE_KIB}",
            "CREATE TABLE seen (hash BLOB PRIMARY KEY) WITHOUT ROWID",
            "CREATE TABLE keys (key INTEGER)",
            "BEGIN",
        ):
            self._database.execute(line)

    def is_new(self, content: bytes) -> bool:
        digest = hashlib.blake2b(content, digest_size=16).digest()
        return self._database.execute("INSERT OR IGNORE INTO seen VALUES (?)", (digest,)).rowcount == 1

    def add_key(self, key: int) -> None:
        self._database.execute("INSERT INTO keys VALUES (?)", (key,))

    def smallest(self, count: int) -> int:
        """The largest of the `count` smallest keys."""
        found = self._database.execute("SELECT key FROM keys ORDER BY key LIMIT 1 OFFSET ?", (count - 1,)).fetchone()
        return int(found[0])

    def forget(self) -> None:
        self._database.close()
        files.remove(self._path)


def preprocess(run: RunFolder, task: Task) -> Result:
    """Do it. Raises BadDataError, OSError."""
    if task.kind not in rows.CHECKS:
        raise BadDataError(f"Datasets of kind {task.kind} cannot be preprocessed.")
    folder = os.path.join(run.path, OUTPUT)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    status, result = Status(run, unit="rows", total=task.rows), Result()
    try:
        with _memory(os.path.join(folder, ".seen.sqlite3")) as memory:
            with _Writer(os.path.join(folder, f"{TRAIN}.jsonl"), task.kind) as train:
                for line, row in _kept(task, memory, status, result):
                    train.add(line, row)
                    if task.validation_fraction:
                        memory.add_key(_split_key(line, task.seed))
                if not result.rows_out:
                    raise BadDataError(f"None of the {result.rows_in} rows is left. {_first(result)}".strip())
                result.outputs[TRAIN] = train.finish(run.path)
            if task.validation_fraction:
                _split(folder, run, task, memory, result)
    except BaseException:
        status.end(failed=True)
        raise
    status.end()
    return result


def _kept(task: Task, memory: _Memory, status: Status, result: Result) -> Iterator[tuple[bytes, rows.Row]]:
    columns = Columns()
    with open(task.input, "rb") as source:
        for number, read in rows.lines(source):
            result.rows_in += 1
            status.done(result.rows_in)
            try:
                line, row = _cleaned(read, task, result)
                why = _unwanted(row, task)
                if not why:
                    columns.add(number, row)
                    if task.deduplicate and not memory.is_new(rows.canonical(row)):
                        why = "duplicate"
            except BadRowError as error:
                if not task.clean:
                    raise BadDataError(f"Line {number}: {error}. With `clean` such rows are dropped.") from error
                why = "empty" if isinstance(error, EmptyRowError) else "malformed"
                if len(result.bad_rows) < MOST_QUOTED:
                    excerpt = (read or b"")[:_EXCERPT].decode(errors="replace")
                    result.bad_rows.append(BadRow(number, str(error), excerpt))
            if why:
                result.dropped_by[why] = result.dropped_by.get(why, 0) + 1
                continue
            result.rows_out += 1
            yield line, row


def _cleaned(line: bytes | None, task: Task, result: Result) -> tuple[bytes, rows.Row]:
    """The line as it goes on, and its row. Raises BadRowError."""
    row = rows.parse(line)
    assert line is not None, "parse refuses that"
    check = rows.CHECKS[task.kind]
    if task.clean:
        check(row)
        stripped = rows.stripped(row)
        if stripped != row:
            line, row = rows.dump(stripped), stripped
            if len(line) >= rows.MAX_LINE:
                raise BadRowError("too long once it is written out")
            result.changed += 1
    check(row)
    return line, row


def _unwanted(row: rows.Row, task: Task) -> str:
    count = rows.characters(row, task.kind)
    if task.min_chars is not None and count < task.min_chars:
        return "too_short"
    if task.max_chars is not None and count > task.max_chars:
        return "too_long"
    return ""


def _split_key(line: bytes, seed: int) -> int:
    """By content and seed alone: neither order nor neighbours move a row to the other side, nor do its twins part."""
    digest = hashlib.blake2b(line, digest_size=8, key=str(seed).encode()[:64]).digest()
    return int.from_bytes(digest, "big", signed=True)


def _split(folder: str, run: RunFolder, task: Task, memory: _Memory, result: Result) -> None:
    """Take the rows with the smallest keys out of the training file. Either side has one row at least."""
    if result.rows_out < 2:
        raise BadDataError("One row alone cannot be split.")
    count = min(max(1, round(result.rows_out * task.validation_fraction)), result.rows_out - 1)
    limit = memory.smallest(count)
    whole = os.path.join(folder, ".whole.jsonl")
    os.replace(os.path.join(folder, f"{TRAIN}.jsonl"), whole)
    with contextlib.ExitStack() as stack:
        sides = {
            name: stack.enter_context(_Writer(os.path.join(folder, f"{name}.jsonl"), task.kind))
            for name in (TRAIN, VALIDATION)
        }
        with open(whole, "rb") as source:
            for _number, line in rows.lines(source):
                assert line is not None, "written here"
                side = VALIDATION if _split_key(line, task.seed) <= limit else TRAIN
                sides[side].add(line, rows.parse(line))
        result.outputs = {name: writer.finish(run.path) for name, writer in sides.items()}
    files.remove(whole)
    if not result.outputs[TRAIN].rows:
        raise BadDataError("All rows are the same: they cannot be split.")


def _first(result: Result) -> str:
    if not result.bad_rows:
        return ""
    return f"Line {result.bad_rows[0].line}: {result.bad_rows[0].why}."


@contextmanager
def _memory(path: str) -> Iterator[_Memory]:
    memory = _Memory(path)
    try:
        yield memory
    finally:
        memory.forget()


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m platform_runtime.preprocess ATTEMPT_FOLDER\n")
        return 2
    run = RunFolder.at(arguments[0])
    os.umask(0o077)
    try:
        with open(os.path.join(run.path, TASK), "rb") as file:
            task = Task.from_bytes(file.read())
        result = preprocess(run, task)
    except (BadDataError, ContractError) as error:
        files.replace(run.result, (json.dumps({"error": str(error)}) + "\n").encode())
        print(f"{type(error).__name__}: {error}")
        return BAD_DATA
    files.replace(run.result, result.to_bytes())
    dropped = ", ".join(f"{count} {why}" for why, count in sorted(result.dropped_by.items())) or "none"
    print(f"{result.rows_in} rows read, {result.rows_out} kept; dropped: {dropped}; changed: {result.changed}")
    for name, output in sorted(result.outputs.items()):
        print(f"{name}: {output.rows} rows, {output.size} bytes, sha256 {output.sha256}")
    for bad in result.bad_rows:
        print(f"line {bad.line}: {bad.why}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
