"""A file is judged line by line, in bounded memory, whatever is in it."""

import io
import tracemalloc

import pytest

from datasets.models import Dataset
from datasets.rows import CHECKS
from datasets.services.validate import MAX_LINE, MAX_PROBLEMS, validate
from platform_runtime import rows

from .files import conversation, jsonl, sums


def report(content: bytes, kind: str = "sft"):
    return validate(io.BytesIO(content), kind)


def test_a_good_file_is_counted():
    found = report(jsonl(conversation("ab", "cd"), conversation("e", "f", source="x")))
    assert found.valid
    assert found.rows == 2
    assert found.columns == ["messages", "source"]
    assert found.stats == {"turns": 4, "characters": 6, "mean_characters": 3.0, "longest_characters": 4}


def test_the_last_line_needs_no_newline_and_lines_may_end_the_windows_way():
    assert report(jsonl(conversation()).rstrip()).rows == 1
    assert report(jsonl(conversation()).replace(b"\n", b"\r\n")).valid


@pytest.mark.parametrize(
    ("line", "part"),
    [
        (b"", "empty"),
        (b"[1]", "object"),
        (b"{", "Not JSON"),
        (b"{'a': 1}", "Not JSON"),
        (b"\xff\xfe{}", "UTF-8"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b"PAR1\x00", "Parquet"),
        (b"\x1f\x8b\x08", "gzip"),
        (b'{"messages": [], "messages": []}', "twice"),
        (b'{"x": NaN}', "NaN"),
        (b'{"x": 123456789012345678901}', "64 bits"),
        (b'{"x": ' + b"9" * 5000 + b"}", "64 bits"),
        (b'{"x": "\\u0000"}', "NUL"),
        (b'{"x": "\x00"}', "Not JSON"),
        (b'{"x": "\\ud800"}', "Unicode"),
        (b'{"x": ' + b"[" * 100 + b"]" * 100 + b"}", "deeply"),
        (b'{"x": ' + b"[" * 200_000 + b"]" * 200_000 + b"}", "deeply"),
        (b'{"x": 1}', "messages"),
        (b'{"messages": []}', "messages"),
        (b'{"messages": ["hi"]}', "Message 1"),
        (b'{"messages": [{"role": "robot", "content": "x"}]}', "role of message 1"),
        (b'{"messages": [{"role": "user"}]}', "content of message 1"),
        (b'{"messages": [{"role": "user", "content": ""}]}', "empty"),
        (b'{"messages": [{"role": "user", "content": "x"}]}', "nothing to learn"),
        (
            b'{"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": " "}]}',
            "nothing to learn",
        ),
        (b'{"messages": [{"role": "user", "content": "x"}, {"role": "system", "content": "y"}]}', "first"),
    ],
)
def test_a_wrong_line_is_named(line, part):
    found = report(line + b"\n" + jsonl(conversation()))
    assert [(problem.line, part in problem.message) for problem in found.problems] == [(1, True)], found.problems
    assert not found.valid


def test_items_of_an_evaluation_have_a_question_and_an_answer():
    found = report(jsonl({"question": "1+1?", "answer": "2", "messages": 3}), "eval")
    assert found.valid
    assert found.stats == {"turns": 2, "characters": 5, "mean_characters": 5.0, "longest_characters": 5}


@pytest.mark.parametrize(
    ("row", "part"),
    [
        ({"answer": "2"}, "question"),
        ({"question": "1+1?"}, "answer"),
        ({"question": "1+1?", "answer": 2}, "answer"),
        ({"question": " ", "answer": "2"}, "question"),
        ({"question": "1+1?", "answer": "\n"}, "answer"),
    ],
)
def test_a_wrong_item_is_named(row, part):
    found = report(jsonl(row), "eval")
    assert [(problem.line, part in problem.message) for problem in found.problems] == [(1, True)], found.problems


def test_every_wrong_line_has_its_number():
    content = jsonl(conversation()) + b"{\n" + jsonl(conversation()) + b"[]\n"
    assert [problem.line for problem in report(content).problems] == [2, 4]


def test_a_column_keeps_its_type():
    found = report(jsonl(conversation(n=1), conversation(n=2.5), conversation(n=None), conversation(n="three")))
    assert [problem.line for problem in found.problems] == [4]
    assert "number in line 1" in found.problems[0].message


def test_tool_calls_may_stand_for_content():
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "add"}}]}
    assert report(jsonl({"messages": [{"role": "user", "content": "add"}, call]})).valid


def test_an_empty_file_is_no_dataset():
    found = report(b"")
    assert [problem.line for problem in found.problems] == [0]


def test_problems_are_bounded():
    found = report(b"{\n" * 5000)
    assert len(found.problems) == MAX_PROBLEMS
    assert found.truncated


def test_an_endless_line_costs_no_endless_memory():
    content = b'{"x": "' + b"y" * (MAX_LINE * 6) + b'"}\n' + jsonl(conversation())
    file = io.BytesIO(content)
    tracemalloc.start()
    try:
        found = validate(file, "sft")
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [problem.line for problem in found.problems] == [1]
    assert found.rows == 1
    assert peak < MAX_LINE * 3


def test_many_columns_are_refused():
    found = report(jsonl({**conversation(), **{f"c{number}": 1 for number in range(300)}}))
    assert "columns" in found.problems[0].message


def test_a_kind_that_cannot_be_checked_is_said_so():
    assert not report(sums(1), "preference").valid


USER = {"role": "user", "content": "2+2?"}
RIGHT, WRONG = {"role": "assistant", "content": "4"}, {"role": "assistant", "content": "5"}
CALL = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "add"}}]}


def test_every_kind_that_there_is_can_be_checked():
    assert set(CHECKS) == set(Dataset.Kind.values) == set(rows.CHECKS) == set(rows.SAID)


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "2+2?", "chosen": "4", "rejected": "5"},
        {"prompt": [USER], "chosen": [RIGHT], "rejected": [WRONG]},
        {"prompt": [USER], "chosen": "4", "rejected": "5", "source": "x"},
        {"prompt": [{"role": "system", "content": "Add."}, USER], "chosen": "4", "rejected": [WRONG]},
        {"prompt": [USER, CALL, {"role": "tool", "content": "4"}], "chosen": "4", "rejected": "5"},
        {"prompt": "2+2?", "chosen": [CALL], "rejected": [WRONG]},
        {"prompt": "2+2?", "chosen": "4", "rejected": "5", "tools": [{"type": "function"}]},
        {"prompt": "2+2?", "chosen": "4", "rejected": "5", "tools": '[{"type": "function"}]'},
        {"prompt": "2+2?", "chosen": "4", "rejected": "5", "tools": None},
    ],
)
def test_pairs_are_texts_or_messages(row):
    assert report(jsonl(row), "preference").problems == []


def test_what_is_said_in_pairs_is_counted():
    found = report(jsonl({"prompt": [USER], "chosen": "four", "rejected": "5"}), "preference")
    assert found.stats == {"turns": 3, "characters": 9, "mean_characters": 9.0, "longest_characters": 9}


@pytest.mark.parametrize(
    ("row", "part"),
    [
        ({"chosen": "4", "rejected": "5"}, "“prompt” must be text or a list"),
        ({"prompt": "2+2?", "rejected": "5"}, "“chosen” must be text or a list"),
        ({"prompt": "2+2?", "chosen": "4"}, "“rejected” must be text or a list"),
        ({"prompt": " ", "chosen": "4", "rejected": "5"}, "“prompt” must be text that is not blank"),
        ({"prompt": [], "chosen": "4", "rejected": "5"}, "“prompt” must be text or a list"),
        ({"prompt": "2+2?", "chosen": 4, "rejected": 5}, "“chosen” must be text or a list"),
        ({"prompt": "2+2?", "chosen": "4", "rejected": "4"}, "the same"),
        ({"prompt": ["2+2?"], "chosen": "4", "rejected": "5"}, "In “prompt”: Message 1"),
        ({"prompt": [USER, RIGHT], "chosen": "4", "rejected": "5"}, "must end with a message of the user"),
        ({"prompt": [USER], "chosen": [USER], "rejected": [WRONG]}, "“chosen” must hold no system message"),
        ({"prompt": [USER], "chosen": [RIGHT], "rejected": []}, "“rejected” must be text or a list"),
        (
            {"prompt": [USER], "chosen": [{"role": "system", "content": "x"}, RIGHT], "rejected": [WRONG]},
            "“chosen” must hold no system message",
        ),
        (
            {"prompt": [USER], "chosen": [RIGHT], "rejected": [{"role": "assistant", "content": ""}]},
            "last message of “rejected” has no text",
        ),
        ({"prompt": [USER], "chosen": [{"role": "x", "content": "y"}], "rejected": [WRONG]}, "In “chosen”: The role"),
        *(
            ({"prompt": "2+2?", "chosen": "4", "rejected": "5", "tools": tools}, "“tools” must be a list of objects")
            for tools in ("notalist", "", '{"type": "function"}', '["add"]', "[" * 100_000, {"type": "x"}, ["add"], 1)
        ),
    ],
)
def test_a_wrong_pair_is_named(row, part):
    found = report(jsonl(row), "preference")
    assert [(problem.line, part in problem.message) for problem in found.problems] == [(1, True)], found.problems


def test_prompts_may_have_an_answer():
    found = report(jsonl({"prompt": "2+2?", "answer": "4"}, {"prompt": "3+3?", "id": 7}), "prompts")
    assert found.problems == []
    assert found.stats == {"turns": 3, "characters": 9, "mean_characters": 4.5, "longest_characters": 5}
    assert report(jsonl({"prompt": [{**USER, "name": None}], "answer": 4}), "prompts").valid


@pytest.mark.parametrize(
    ("row", "part"),
    [
        ({"answer": "4"}, "“prompt” must be"),
        ({"prompt": [RIGHT], "answer": "4"}, "must end with a message of the user"),
        ({"prompt": "2+2?", "answer": " "}, "“answer” must be text that is not blank"),
        ({"prompt": "2+2?", "answer": ["4"]}, "“answer” must be text or a number"),
        ({"prompt": "2+2?", "answer": True}, "“answer” must be text or a number"),
        ({"prompt": [USER, CALL, {"role": "tool", "content": "4"}]}, "Message 2 of “prompt” has “tool_calls”"),
        ({"prompt": [USER, RIGHT, {"role": "tool", "content": "4", "tool_call_id": "a"}]}, "has “tool_call_id”"),
        ({"prompt": [{**USER, "name": "Ada"}]}, "has “name”: the messages of a prompt have “role” and “content” alone"),
        ({"prompt": [{"role": "user", "content": None}]}, "The content of message 1 must be text"),
    ],
)
def test_a_wrong_prompt_is_named(row, part):
    found = report(jsonl(row), "prompts")
    assert [(problem.line, part in problem.message) for problem in found.problems] == [(1, True)], found.problems
