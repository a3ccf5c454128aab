"""What a stage kind is: one small class, one file a kind, one line in the registry."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from environments.transports import Tail, Transport
from monitoring.services.sync import SyncResult
from pipelines.models import Attempt, Stage
from platform_runtime.contract import Command
from platform_site.common.models import User


@dataclass(frozen=True)
class Verdict:
    """How an attempt came out, judged from what it left.

    `reason` says for people why it is not complete; `retryable` whether trying again could help.
    """

    complete: bool
    reason: str = ""
    retryable: bool = False
    result: dict[str, Any] = field(default_factory=dict)


class StageKind(ABC):
    """`name` is what stages say as their task; `queue` is where their work waits; `example` are parameters as a person
    types them into a form, for a hint beside the field."""

    name: ClassVar[str]
    queue: ClassVar[str]
    example: ClassVar[str] = ""

    @abstractmethod
    def problems(self, params: dict[str, Any], user: User) -> dict[str, str]:
        """What is wrong with the parameters of a new stage, by dotted name. No side effects.

        A value that is a reference to an earlier stage's result is not known yet: it counts as right.
        """

    def misplaced(self, params: dict[str, Any], above: Mapping[str, str]) -> dict[str, str]:
        """What is wrong with the parameters where the stage stands: `above` has all that it needs, name -> task."""
        return {}

    def attach(self, stage: Stage, user: User) -> None:
        """Make what stands beside a new stage of this kind, in the transaction that makes the stage."""

    def settle(self, stage: Stage, attempt: Attempt, verdict: Verdict) -> None:
        """Save what belongs to the end of an attempt, in the transaction that ends it."""

    def summary(self, result: dict[str, Any]) -> str:
        """What matters most of a result, in a few words for pages; empty where nothing stands out."""
        return ""


class RunnerKind(StageKind):
    """Work in a process of its own on a host, under the runner. It outlives every process of the platform.

    Its program may write a status file (`contract.StatusFile`), as `platform_runtime.status` does: `step` of
    `target_step` in its own `unit` is then the stage's progress.
    """

    has_stream: ClassVar[bool] = False
    """Its progress stands in a stream of metrics, which `observe` reads."""
    needs_training_environment: ClassVar[bool] = False
    """It waits for a host where torch and verl are installed."""
    sets_up_environment: ClassVar[bool] = False
    """It changes torch and verl on its host: it waits for those who use them, and they for it."""

    def uses_ray(self, stage: Stage) -> bool:
        """Whether its command, on a Ray cluster, asks that for its GPUs and processes itself."""
        return False

    @abstractmethod
    def prepare(self, stage: Stage, params: dict[str, Any], attempt: Attempt, transport: Transport) -> Command:
        """Put the attempt's inputs on its host and answer with what its runner should run.

        May be called many times for one attempt, also at the same time: write whole files, the same bytes.
        Raises PlatformError or TransportError with a message for people.
        """

    def ahead(self, stage: Stage, attempt: Attempt) -> list[Tail]:
        """What `observe` will ask the attempt's host for first: brought for all its attempts in one round trip."""
        return []

    def observe(self, stage: Stage, attempt: Attempt, transport: Transport) -> SyncResult:
        """Read what is new of a live attempt, and say what came of its metrics; called on every look, and once more
        after its end."""
        return SyncResult()

    @abstractmethod
    def judge(self, stage: Stage, attempt: Attempt, exit_info: dict[str, Any], transport: Transport) -> Verdict:
        """Decide whether an attempt that ended is complete. Called after the last `observe`."""


class InlineKind(StageKind):
    """Short work in the worker itself: under 30 s, and idempotent, since a worker may die in it or sleep."""

    instant: ClassVar[bool] = False
    """It takes no time at all, and touches nothing: a worker takes several such stages at once."""

    @abstractmethod
    def run(self, stage: Stage, params: dict[str, Any]) -> Verdict:
        """Do it. Raises PlatformError or TransportError with a message for people."""
