"""What a stage kind is: one small interface, one file a kind, one line in the registry."""

from dataclasses import dataclass, field
from typing import Any, Protocol

from environments.transports import Transport
from pipelines.models import Attempt, Stage
from platform_runtime.contract import Command


@dataclass(frozen=True)
class Verdict:
    """How an attempt came out, judged from the files it left.

    `reason` says for people why it is not complete; `retryable` whether trying again could help.
    """

    complete: bool
    reason: str = ""
    retryable: bool = False
    result: dict[str, Any] = field(default_factory=dict)


class StageKind(Protocol):
    name: str
    queue: str

    def validate(self, params: dict[str, Any]) -> dict[str, str]:
        """Errors by parameter name; empty when the parameters will do. No side effects."""

    def prepare(self, stage: Stage, attempt: Attempt, transport: Transport) -> Command:
        """Put the attempt's inputs on its host and answer with what its runner should run.

        May be called many times for one attempt, also at the same time: write whole files, the same bytes.
        Raises PlatformError or TransportError with a message for people.
        """

    def observe(self, stage: Stage, attempt: Attempt, transport: Transport) -> None:
        """Read what is new of a live attempt; called on every look, and once more after its end."""

    def judge(self, stage: Stage, attempt: Attempt, exit_info: dict[str, Any], transport: Transport) -> Verdict:
        """Decide whether an attempt that ended is complete. Called after the last `observe`."""

    def settle(self, stage: Stage, attempt: Attempt, verdict: Verdict) -> None:
        """Save what belongs to the end of an attempt, in the transaction that ends it."""
