"""The checkpoints that a training of a pipeline left, where they stand."""

from dataclasses import dataclass
from typing import Final

from environments.models import Host
from environments.transports import for_host
from pipelines.folders import run_path
from pipelines.models import Attempt, Stage
from platform_runtime.pruning import Found

TRAINING_KIND: Final = "train_model"


@dataclass(frozen=True)
class Held:
    """A checkpoint where it stands. `run` is the folder of the stage on its host."""

    host: Host
    run: str
    found: Found

    @property
    def path(self) -> str:
        """On its host."""
        return f"{self.run}/checkpoints/attempt-{self.found.attempt}/global_step_{self.found.step}"


def checkpoints_of(training: Stage, *, on: Host | None = None) -> list[Held]:
    """What the attempts that have ended left, on whichever hosts or on one, in one round trip a host."""
    ended = ended_attempts(training)
    by_place: dict[tuple[Host, str], list[int]] = {}
    for attempt in ended:
        if attempt.host is not None and (on is None or attempt.host == on):
            by_place.setdefault((attempt.host, run_path(attempt)), []).append(attempt.number)
    return [
        Held(host, run, found)
        for (host, run), numbers in by_place.items()
        for found in for_host(host).checkpoints(run, numbers)
    ]


def ended_attempts(training: Stage) -> list[Attempt]:
    """Those that ran somewhere, in their order."""
    ran = Attempt.objects.select_related("host").filter(stage=training, host__isnull=False)
    return list(ran.exclude(outcome="").exclude(folder="").order_by("number"))
