"""Cleaning, de-duplicating and splitting: the real program on real files."""

import hashlib
import io
import json
import os
import resource
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from datasets.services.validate import validate
from platform_runtime.contract import RunFolder, StatusFile
from platform_runtime.files import load
from platform_runtime.preprocess import BAD_DATA, OUTPUT, TASK, BadDataError, Task, preprocess
from platform_runtime.rows import CHECKS, MAX_LINE

from .runs import RUNNER


def conversation(question: str, answer: str, **extra: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"messages": messages, **extra}


def line(*said: str, **extra: Any) -> bytes:
    return json.dumps(conversation(*said, **extra)).encode()


def item(question: str, answer: str, **extra: Any) -> bytes:
    return json.dumps({"question": question, "answer": answer, **extra}).encode()


def pair(**extra: Any) -> bytes:
    return json.dumps({"prompt": "1+1?", "chosen": "2", "rejected": "3", **extra}).encode()


class Work:
    """An attempt's folder with an input and a task."""

    def __init__(self, root: Path, content: bytes, **task: Any) -> None:
        name = str(uuid.uuid4())
        self.folder = root / "a folder" / name / "attempt-1"
        self.folder.mkdir(parents=True)
        self.run_folder = RunFolder(str(self.folder), name)
        source = self.folder / "input.jsonl"
        source.write_bytes(content)
        self.task = Task(**{"input": str(source), "kind": "sft", "uuid": name, **task})
        (self.folder / TASK).write_bytes(self.task.to_bytes())

    def run(self, **options: Any) -> tuple[int, str]:
        """As the runner does it, with nothing installed."""
        done = subprocess.run(
            [sys.executable, "-S", "-P", "-m", "platform_runtime.preprocess", str(self.folder)],
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(RUNNER.parents[1])},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            **options,
        )
        return done.returncode, done.stdout + done.stderr

    def told(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "result.json").read_text())
        return found

    def output(self, name: str = "train") -> bytes:
        return (self.folder / OUTPUT / f"{name}.jsonl").read_bytes()


def done(root: Path, content: bytes, **task: Any) -> Work:
    work = Work(root, content, **task)
    code, said = work.run()
    assert code == 0, said
    return work


def lines(content: bytes) -> list[Any]:
    return [json.loads(one) for one in content.splitlines()]


def test_rows_are_stripped_and_twins_and_bad_ones_dropped(tmp_path: Path) -> None:
    content = b"\n".join(
        [
            line("1+1?", "2"),
            line(" 1+1? ", "2\n"),
            b"",
            b"{not json",
            line("2+2?", "   "),
            b'{"messages": [{"role": "robot", "content": "x"}]}',
            line("3+3?", "6"),
            b"\xff\xfe",
            b"",
        ]
    )
    work = done(tmp_path, content)
    assert lines(work.output()) == [conversation("1+1?", "2"), conversation("3+3?", "6")]
    told = work.told()
    assert (told["rows_in"], told["rows_out"], told["dropped"]) == (8, 2, 6)
    assert told["dropped_by"] == {"duplicate": 1, "empty": 2, "malformed": 3}
    assert [bad["line"] for bad in told["bad_rows"]] == [3, 4, 5, 6, 8]
    assert "not JSON" in told["bad_rows"][1]["why"]
    assert told["bad_rows"][1]["excerpt"] == "{not json"


def test_only_the_first_bad_rows_are_quoted_and_all_are_counted(tmp_path: Path) -> None:
    told = done(tmp_path, b"nonsense\n" * 500 + line("1+1?", "2") + b"\n").told()
    assert told["dropped_by"] == {"malformed": 500}
    assert len(told["bad_rows"]) == 20


def test_a_clean_file_stays_as_it_is_byte_by_byte(tmp_path: Path) -> None:
    content = b'{ "messages" : [{"role":"user","content":"1"}, {"role":"assistant","content":"\\u00e9"}]}\n' + line(
        "2", "3"
    )
    work = done(tmp_path, content + b"\n")
    assert work.output() == content + b"\n"
    assert work.told()["changed"] == 0


def test_twins_are_known_however_they_are_written(tmp_path: Path) -> None:
    one = b'{"messages":[{"role":"user","content":"\\u00e9"},{"content":"2","role":"assistant"}],"id":1}\n'
    other = '{"id": 1, "messages": [{"content": "é", "role": "user"}, {"role": "assistant", "content": "2"}]}\n'
    work = done(tmp_path, one + other.encode())
    assert work.output() == one


def test_what_is_switched_off_is_not_done(tmp_path: Path) -> None:
    content = line(" 1 ", "2") + b"\n" + line(" 1 ", "2") + b"\n"
    assert done(tmp_path, content, clean=False, deduplicate=False).output() == content


def test_items_of_an_evaluation_are_rows_too(tmp_path: Path) -> None:
    content = b"\n".join([item(" 1+1? ", "2"), item("1+1?", "2"), item(" ", "2"), item("2+2?", "4", level=1)])
    work = done(tmp_path, content, kind="eval", max_chars=5)
    assert lines(work.output()) == [json.loads(item("1+1?", "2")), json.loads(item("2+2?", "4", level=1))]
    told = work.told()
    assert told["dropped_by"] == {"duplicate": 1, "empty": 1}
    assert told["outputs"]["train"]["stats"]["turns"] == 4


def test_without_cleaning_a_bad_row_ends_it_with_its_line(tmp_path: Path) -> None:
    work = Work(tmp_path, line("1", "2") + b"\n{\n", clean=False)
    code, said = work.run()
    assert code == BAD_DATA
    assert work.told()["error"].startswith("Line 2: not JSON")
    assert "Line 2" in said


def test_lengths_are_limits_that_count_themselves_in(tmp_path: Path) -> None:
    content = b"".join(line("x" * size, "y") + b"\n" for size in (1, 2, 3, 4))
    told = done(tmp_path, content, min_chars=3, max_chars=4)
    assert [len(row["messages"][0]["content"]) for row in lines(told.output())] == [2, 3]
    assert told.told()["dropped_by"] == {"too_long": 1, "too_short": 1}


def sums(count: int, start: int = 0) -> list[bytes]:
    return [line(f"{number}+1?", str(number + 1)) + b"\n" for number in range(start, start + count)]


def test_a_split_is_exact_and_loses_nothing(tmp_path: Path) -> None:
    work = done(tmp_path, b"".join(sums(200)), validation_fraction=0.1, seed=3)
    train, validation = work.output().splitlines(), work.output("validation").splitlines()
    assert (len(train), len(validation)) == (180, 20)
    assert sorted(train + validation) == sorted(one.strip() for one in sums(200))
    told = work.told()["outputs"]
    assert told["train"]["sha256"] == hashlib.sha256(work.output()).hexdigest()
    assert told["validation"]["size"] == len(work.output("validation"))
    assert not list((work.folder / OUTPUT).glob(".*"))


def test_a_split_depends_on_content_and_seed_and_not_on_order(tmp_path: Path) -> None:
    def validation(rows: list[bytes], seed: int) -> set[bytes]:
        work = done(tmp_path, b"".join(rows), validation_fraction=0.2, seed=seed)
        return set(work.output("validation").splitlines())

    assert validation(sums(100), 1) == validation(sums(100)[::-1], 1)
    assert validation(sums(100), 1) != validation(sums(100), 2)


def test_twins_that_stay_are_never_parted(tmp_path: Path) -> None:
    work = done(tmp_path, b"".join(sums(20) * 3), deduplicate=False, validation_fraction=0.3)
    assert not set(work.output().splitlines()) & set(work.output("validation").splitlines())


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "None of the 0 rows is left"),
        (b"{\n", "None of the 1 rows is left. Line 1: not JSON"),
        (line("1", "2"), "One row alone cannot be split"),
    ],
)
def test_what_leaves_nothing_to_train_on_is_an_error_with_a_reason(tmp_path: Path, content: bytes, says: str) -> None:
    work = Work(tmp_path, content, validation_fraction=0.1)
    assert work.run()[0] == BAD_DATA
    assert says in work.told()["error"]


def test_the_status_file_tells_rows(tmp_path: Path) -> None:
    work = done(tmp_path, b"".join(sums(10)), rows=10)
    status = load(StatusFile, work.run_folder.status)
    assert status is not None
    assert (status.state, status.step, status.target_step, status.unit) == ("finished", 10, 10, "rows")


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    work = Work(tmp_path, b"", validation_fraction=0.1)
    with open(work.task.input, "wb") as source:
        for number in range(1500):
            source.write(line(f"{number} " + "x" * 100_000, "y") + b"\n")
    assert os.path.getsize(work.task.input) > 150_000_000
    limit = 120 << 20
    code, said = work.run(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit, limit)))
    assert code == 0, said
    assert work.told()["rows_out"] == 1500


def test_a_disk_that_is_full_ends_it_and_leaves_no_result(tmp_path: Path) -> None:
    work = Work(tmp_path, b"".join(sums(5000)))
    code, _said = work.run(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000)))
    assert code not in (0, BAD_DATA)
    assert not (work.folder / "result.json").exists()
    assert not (work.folder / OUTPUT / "train.jsonl").exists()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
MESSAGE = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["user", "assistant", "system", "tool"]) | JSON,
        "content": st.text(max_size=6) | st.sampled_from([" ", " x ", ""]) | JSON,
    },
    optional={"tool_calls": JSON},
)
ROW = st.fixed_dictionaries(
    {"messages": st.lists(MESSAGE, max_size=3)}, optional={"id": JSON, "more": JSON, "text": st.text(max_size=4)}
)
ITEM = st.fixed_dictionaries(
    {}, optional={name: st.text(max_size=3) | JSON for name in ("question", "answer", "messages", "id")}
)
SAYING = st.text(max_size=3) | st.lists(MESSAGE, max_size=2) | JSON
PAIR = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("prompt", "chosen", "rejected", "answer", "messages", "id"), SAYING)
)
LINE = (
    (ROW | ITEM | PAIR | st.builds(conversation, st.text(max_size=4), st.text(max_size=4)) | JSON).map(
        lambda value: json.dumps(value).encode()
    )
    | st.binary(max_size=20)
    | st.sampled_from([b"", b"  ", b'{"a":1,"a":2}', b'{"a":1e400}', b"\xef\xbb\xbf{}", b'{"messages": "\\ud800"}'])
)


@settings(max_examples=150)
@given(
    content=st.lists(LINE, max_size=12).map(b"\n".join),
    kind=st.sampled_from(sorted(CHECKS)),
    clean=st.booleans(),
    fraction=st.sampled_from([0.0, 0.3]),
)
@example(content=b"\xef\xbb\xbf" + line("1", "2"), kind="sft", clean=True, fraction=0.0)
@example(content=line("1", "2", id=1) + b"\n" + line("2", "2", id="x"), kind="sft", clean=True, fraction=0.0)
@example(content=b'{"messages":' + b" " * MAX_LINE + b"1}\n" + line("1", "2"), kind="sft", clean=True, fraction=0.0)
@example(content=b'{"prompt":" 1+1? ","chosen":"2","rejected":" 2"}', kind="preference", clean=True, fraction=0.0)
@example(content=b'{"prompt":" 1+1? ","chosen":"2","rejected":"3"}', kind="preference", clean=True, fraction=0.0)
@example(content=pair(tools="notalist"), kind="preference", clean=True, fraction=0.0)
@example(content=pair(tools=' [{"type":"function"}]'), kind="preference", clean=True, fraction=0.0)
@example(content=b'{"prompt":[{"role":"user","content":"a"}],"answer":1.5}', kind="prompts", clean=False, fraction=0.0)
@example(content=b'{"prompt":[{"role":"user","content":"a","name":"b"}]}', kind="prompts", clean=False, fraction=0.0)
@example(content=item(" 1+1? ", "2", messages="none") + b"\n" + item(" ", "2"), kind="eval", clean=True, fraction=0.0)
def test_whatever_comes_out_the_intake_takes_and_describes_alike(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, kind: str, clean: bool, fraction: float
) -> None:
    work = Work(tmp_path_factory.mktemp("any"), content, kind=kind, clean=clean, validation_fraction=fraction)
    try:
        result = preprocess(work.run_folder, work.task)
    except BadDataError:
        return
    assert result.rows_in == result.rows_out + sum(result.dropped_by.values())
    assert sum(output.rows for output in result.outputs.values()) == result.rows_out
    for name, output in result.outputs.items():
        report = validate(io.BytesIO(work.output(name)), kind)
        assert report.problems == []
        assert (report.rows, report.columns, report.stats) == (output.rows, output.columns, output.stats)


@settings(max_examples=60)
@given(content=st.lists(LINE, max_size=12).map(b"\n".join))
def test_what_came_out_goes_through_unchanged(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    work = Work(tmp_path_factory.mktemp("once"), content)
    try:
        preprocess(work.run_folder, work.task)
    except BadDataError:
        return
    again = Work(tmp_path_factory.mktemp("again"), work.output())
    assert preprocess(again.run_folder, again.task).dropped_by == {}
    assert again.output() == work.output()
