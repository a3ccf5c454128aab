"""The trainers that recipes can be for. A new one is a folder and a line here."""

from typing import Final

from .base import Rules, Steps, Trainer
from .trl_dpo import TrlDpo
from .verl_dpo import VerlDpo
from .verl_grpo import VerlGrpo
from .verl_sft import VerlSft

__all__ = ["TRAINERS", "Rules", "Steps", "Trainer", "UnknownTrainerError", "supported", "trainer_of"]

TRAINERS: Final[dict[tuple[str, str], Trainer]] = {
    (trainer.algorithm, trainer.name): trainer
    for trainer in (VerlSft(), VerlDpo(), TrlDpo(), VerlGrpo())
}  # fmt: skip
"""By algorithm and trainer, as recipes name them."""


class UnknownTrainerError(LookupError):
    """There is no such trainer for the algorithm."""


def supported() -> tuple[tuple[str, str], ...]:
    """The (algorithm, trainer) pairs that can be checked and compiled."""
    return tuple(TRAINERS)


def trainer_of(algorithm: str, name: str) -> Trainer:
    """Raises UnknownTrainerError."""
    try:
        return TRAINERS[algorithm, name]
    except KeyError:
        raise UnknownTrainerError(f"{algorithm} with {name}") from None
