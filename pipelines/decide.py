"""What to do about an attempt, from what is seen of it: one function per status. Pure.

The observer gathers a `Seen`, asks `decide`, and carries out the answer. All times are seconds on the platform's
own clock; nothing here compares a host's clock with ours.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from .states import StageStatus

RESEND_AFTER_S: Final = 2.0
"""A message not acted upon for so long is sent again, for the same attempt: the claim keeps it to one process."""
START_DEADLINE_S: Final = 90.0
"""Unclaimed for so long, the attempt is revoked and the stage goes back to its queue."""
STOP_SLACK_S: Final = 10.0
"""Beyond the runner's own grace, before the platform ends an attempt by force."""


class Decision(StrEnum):
    NOTHING = "nothing"
    RESEND = "resend"
    REVOKE = "revoke"
    STARTED = "started"
    FINISHED = "finished"
    LOST = "lost"
    STOP = "stop"
    KILL = "kill"
    FROZEN = "frozen"


@dataclass(frozen=True)
class Seen:
    """One look at an attempt.

    claim_owner: "runner", "revoked" or "" when nobody claimed it. runner_alive: its pid, start time and boot id
    all match. since_sent_s, since_stop_s: None when never sent. running_s: None before it started. preparing: a worker
    is bringing its inputs to its host. frozen_s: for how long a signal has kept it stopped, 0 when none does;
    frozen_after_s: from when on that is for ever, None for never. condemned: the doctor found what nothing repairs,
    and the recipe says to stop then.
    """

    claim_owner: str
    has_process: bool
    has_exit: bool
    runner_alive: bool
    since_sent_s: float | None
    since_stop_s: float | None
    running_s: float | None
    status_age_s: float
    timeout_s: float | None
    stop_grace_s: float
    preparing: bool = False
    frozen_s: float = 0.0
    frozen_after_s: float | None = None
    condemned: bool = False

    @classmethod
    def from_probe(cls, probe: dict[str, Any], **ages: Any) -> "Seen":
        claim = probe.get("claim") or {}
        return cls(
            claim_owner=str(claim.get("owner", "")),
            has_process=probe.get("process") is not None,
            has_exit=probe.get("exit") is not None,
            runner_alive=bool(probe.get("runner_alive")),
            frozen_s=float(probe.get("frozen_s") or 0.0),
            **ages,
        )


def decide(status: StageStatus, seen: Seen) -> Decision:
    match status:
        case StageStatus.STARTING:
            return _starting(seen)
        case StageStatus.RUNNING:
            return _running(seen)
        case StageStatus.CANCELLING:
            return _cancelling(seen)
        case _:
            return Decision.NOTHING


def _starting(seen: Seen) -> Decision:
    if seen.has_exit:
        return Decision.FINISHED
    if seen.claim_owner == "revoked":
        return Decision.REVOKE
    if seen.claim_owner == "runner":
        if not seen.runner_alive:
            return Decision.LOST
        # A runner that could not write down its process (a full disk) runs it all the same.
        late = seen.status_age_s > START_DEADLINE_S
        return Decision.STARTED if seen.has_process or late else Decision.NOTHING
    if seen.preparing:
        return Decision.NOTHING
    if seen.status_age_s > START_DEADLINE_S:
        return Decision.REVOKE
    # Never sent counts as due: NULL is no reason to wait for ever.
    if seen.since_sent_s is None or seen.since_sent_s > RESEND_AFTER_S:
        return Decision.RESEND
    return Decision.NOTHING


def _running(seen: Seen) -> Decision:
    if seen.has_exit:
        return Decision.FINISHED
    if not seen.runner_alive:
        return Decision.LOST
    if seen.since_stop_s is not None:
        return _overdue(seen)
    if seen.condemned:
        return Decision.STOP
    if seen.timeout_s is not None and seen.running_s is not None and seen.running_s > seen.timeout_s:
        return Decision.STOP
    if seen.frozen_after_s is not None and seen.frozen_s > seen.frozen_after_s:
        return Decision.FROZEN
    return Decision.NOTHING


def _cancelling(seen: Seen) -> Decision:
    if seen.has_exit:
        return Decision.FINISHED
    if seen.claim_owner != "runner":
        return Decision.REVOKE
    if not seen.runner_alive:
        return Decision.LOST
    if seen.since_stop_s is None:
        return Decision.STOP
    return _overdue(seen)


def _overdue(seen: Seen) -> Decision:
    assert seen.since_stop_s is not None
    return Decision.KILL if seen.since_stop_s > seen.stop_grace_s + STOP_SLACK_S else Decision.NOTHING
