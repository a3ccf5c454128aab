"""What follows from one look at an attempt, for every status."""

from typing import Any

import pytest

from pipelines.decide import RESEND_AFTER_S, START_DEADLINE_S, STOP_SLACK_S, Decision, Seen, decide
from pipelines.states import STAGE_ACTIVE, StageStatus

CLAIMED: dict[str, Any] = {"claim_owner": "runner", "runner_alive": True}
RUNS: dict[str, Any] = {**CLAIMED, "has_process": True}


def seen(**fields: Any) -> Seen:
    defaults: dict[str, Any] = {
        "claim_owner": "",
        "has_process": False,
        "has_exit": False,
        "runner_alive": False,
        "since_sent_s": 0.1,
        "since_stop_s": None,
        "running_s": None,
        "status_age_s": 1.0,
        "timeout_s": None,
        "stop_grace_s": 15.0,
    }
    return Seen(**{**defaults, **fields})


@pytest.mark.parametrize(
    ("fields", "decision"),
    [
        ({}, Decision.NOTHING),
        ({"since_sent_s": RESEND_AFTER_S + 0.1}, Decision.RESEND),
        ({"since_sent_s": None}, Decision.RESEND),
        ({"status_age_s": START_DEADLINE_S + 1}, Decision.REVOKE),
        ({"claim_owner": "revoked"}, Decision.REVOKE),
        (CLAIMED, Decision.NOTHING),
        ({**CLAIMED, "since_sent_s": 1000, "status_age_s": START_DEADLINE_S - 1}, Decision.NOTHING),
        ({**CLAIMED, "since_sent_s": 1000, "status_age_s": START_DEADLINE_S + 1}, Decision.STARTED),
        ({**CLAIMED, "runner_alive": False}, Decision.LOST),
        (RUNS, Decision.STARTED),
        ({"claim_owner": "runner", "has_exit": True}, Decision.FINISHED),
    ],
)
def test_starting(fields: dict[str, Any], decision: Decision) -> None:
    assert decide(StageStatus.STARTING, seen(**fields)) is decision


@pytest.mark.parametrize(
    ("fields", "decision"),
    [
        (RUNS, Decision.NOTHING),
        ({**RUNS, "running_s": 99, "timeout_s": 100}, Decision.NOTHING),
        ({**RUNS, "running_s": 101, "timeout_s": 100}, Decision.STOP),
        ({**RUNS, "running_s": 101, "timeout_s": 100, "since_stop_s": 1}, Decision.NOTHING),
        ({**RUNS, "condemned": True}, Decision.STOP),
        ({**RUNS, "condemned": True, "since_stop_s": 1}, Decision.NOTHING),
        ({**RUNS, "condemned": True, "has_exit": True}, Decision.FINISHED),
        ({**RUNS, "running_s": 900, "timeout_s": 100, "since_stop_s": 15 + STOP_SLACK_S + 1}, Decision.KILL),
        ({**RUNS, "runner_alive": False}, Decision.LOST),
        ({**RUNS, "runner_alive": False, "has_exit": True}, Decision.FINISHED),
    ],
)
def test_running(fields: dict[str, Any], decision: Decision) -> None:
    assert decide(StageStatus.RUNNING, seen(**fields)) is decision


@pytest.mark.parametrize(
    ("fields", "decision"),
    [
        ({}, Decision.REVOKE),
        ({"claim_owner": "revoked"}, Decision.REVOKE),
        (RUNS, Decision.STOP),
        ({**RUNS, "since_stop_s": 1}, Decision.NOTHING),
        ({**RUNS, "since_stop_s": 15 + STOP_SLACK_S + 1}, Decision.KILL),
        ({**RUNS, "runner_alive": False}, Decision.LOST),
        ({**RUNS, "has_exit": True}, Decision.FINISHED),
    ],
)
def test_cancelling(fields: dict[str, Any], decision: Decision) -> None:
    assert decide(StageStatus.CANCELLING, seen(**fields)) is decision


@pytest.mark.parametrize("status", [status for status in StageStatus if status not in STAGE_ACTIVE])
def test_nothing_is_done_to_what_is_not_active(status: StageStatus) -> None:
    assert decide(status, seen(has_exit=True)) is Decision.NOTHING
