"""The files of a run: names as documented, content there and back, clear words for what is broken."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_runtime import contract, message
from platform_runtime.contract import (
    AnomalyInfo,
    CheckpointInfo,
    Claim,
    Command,
    ContractError,
    ExitInfo,
    Message,
    MetricLine,
    ProcessInfo,
    RunFolder,
    StatusFile,
)

numbers = st.floats(allow_nan=False, allow_infinity=False)
seconds = st.floats(0, message.MOST_SECONDS, exclude_max=True)
codes = st.integers(0, message.MOST_CODE - 1)
integers = st.integers(-(2**62), 2**62)
texts = st.text(max_size=30)
messages = st.one_of(
    st.builds(
        Command,
        argv=st.lists(texts, min_size=1, max_size=4),
        env=st.dictionaries(texts, texts, max_size=4),
        cwd=texts, launch_token=texts, uuid=texts,
        target_step=st.none() | integers,
        checkpoint_required=st.booleans(),
        checkpoint_folder=texts,
        stop_grace_s=seconds,
    ),
    st.builds(Claim, st.sampled_from(["runner", "revoked"]), *[st.none() | integers] * 2, st.none() | texts, seconds),
    st.builds(ProcessInfo, integers, integers, texts, integers, integers, texts, seconds),
    st.builds(
        ExitInfo, st.none() | codes, st.none() | codes, seconds, seconds, seconds,
        st.builds(CheckpointInfo, st.none() | integers, st.booleans(), texts),
    ),
    st.builds(
        MetricLine, integers, seconds, st.dictionaries(texts, numbers | st.just("NaN"), max_size=4),
        st.none() | st.builds(AnomalyInfo, texts, texts),
    ),
    st.builds(
        StatusFile, st.sampled_from(["starting", "running", "finished", "failed"]),
        st.none() | integers, st.none() | integers, texts, seconds, seconds, st.booleans(),
        st.none() | texts, st.none() | texts, st.none() | seconds,
    ),
)  # fmt: skip


@given(messages)
def test_there_and_back(message: Message) -> None:
    assert type(message).from_bytes(message.to_bytes()) == message


@given(messages, st.data())
def test_a_missing_key_is_named(message: Message, data: st.DataObject) -> None:
    content = message.to_json()
    optional = {MetricLine: {"anomaly"}, ExitInfo: {"disk_free"}, StatusFile: {"pace_s"}}.get(type(message), set())
    key = data.draw(st.sampled_from(sorted(set(content) - optional)))
    del content[key]
    with pytest.raises(ContractError, match=key):
        type(message).from_json(content)


@given(messages)
def test_unknown_keys_are_let_pass(message: Message) -> None:
    assert type(message).from_json({**message.to_json(), "something_new": 1}) == message


@given(st.sampled_from([Command, Claim, ProcessInfo, ExitInfo, MetricLine, StatusFile]), st.binary(max_size=200))
def test_broken_bytes_are_a_contract_error(kind: type[Message], content: bytes) -> None:
    with pytest.raises(ContractError):
        kind.from_bytes(content)


def test_the_names_are_those_of_the_documentation() -> None:
    run = RunFolder("/data/runs/abc/attempt-2", "abc")
    assert run == RunFolder.at("/data/runs/abc/attempt-2/")
    names = {
        name: getattr(run, name).removeprefix("/data/runs/abc/")
        for name in ("claim", "command", "config", "process", "output_log", "result", "exit", "metrics", "status")
    }
    assert names == {
        "claim": "attempt-2/claim",
        "command": "attempt-2/command.json",
        "config": "attempt-2/config.yaml",
        "process": "attempt-2/process.json",
        "output_log": "attempt-2/output.log",
        "result": "attempt-2/result.json",
        "exit": "attempt-2/exit.json",
        "metrics": "attempt-2/metrics/abc_metrics.jsonl",
        "status": "attempt-2/metrics/abc_status.json",
    }
    assert run.checkpoints == "/data/runs/abc/checkpoints/attempt-2"


def test_a_line_has_exactly_the_documented_keys() -> None:
    line = MetricLine(12, 1763800000.1, {"train/loss": 1.2, "actor/grad_norm": "NaN"})
    assert line.to_json() == {
        "v": 1,
        "step": 12,
        "time": 1763800000.1,
        "metrics": {"train/loss": 1.2, "actor/grad_norm": "NaN"},
    }
    flagged: dict[str, Any] = MetricLine(1, 1.0, {}, AnomalyInfo("nan_inf", "…")).to_json()
    assert flagged["anomaly"] == {"type": "nan_inf", "message": "…"}


def test_a_revoked_claim_names_nobody() -> None:
    claim = json.loads(Claim.revoked().to_bytes())
    assert (claim["owner"], claim["pid"], claim["start_time"], claim["boot_id"]) == ("revoked", None, None, None)


def test_the_environment_has_its_documented_names() -> None:
    assert {contract.ENV_JOB_UUID, contract.ENV_METRICS_DIR, contract.ENV_TARGET_STEP} == {
        "ANNEAL_JOB_UUID",
        "ANNEAL_METRICS_DIR",
        "ANNEAL_TARGET_STEP",
    }
    assert {contract.ENV_LAUNCH_TOKEN, contract.ENV_RUN_FOLDER} == {"ANNEAL_LAUNCH_TOKEN", "ANNEAL_RUN_FOLDER"}


@pytest.mark.parametrize(
    "change",
    [{"elapsed_s": float("nan")}, {"started_at": float("inf")}, {"elapsed_s": -1}, {"code": 2**31}, {"signal": -9}],
)
def test_a_number_that_no_clock_and_no_process_gives_is_refused(change: dict[str, Any]) -> None:
    record = ExitInfo(0, None, 1.0, 2.0, 1.0, CheckpointInfo(None, False, "")).to_json()

    with pytest.raises(ContractError, match=next(iter(change))):
        ExitInfo.from_json({**record, **change})
