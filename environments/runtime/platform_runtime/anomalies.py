"""What a trainer's own process can tell at a step, with no look at the past beyond a few numbers. Pure.

The full diagnosis, with severities and advice, is the platform's; this is the part that must not wait for it.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

KL_METRICS: Final = ("actor/kl_loss", "actor/ppo_kl", "critic/kl", "kl", "objective/kl")
LOSS_METRICS: Final = ("train/loss", "loss")
"""The losses that ought to fall. A policy-gradient loss is none: it hovers around zero."""

KL_THRESHOLD: Final = 1.0

_WATCHED_FOR_FINITE = re.compile(r"loss|reward|score|kl|grad|entropy|logp", re.IGNORECASE)
_RELEARN_MASK = 15
_KL_SEVERITIES = ((5.0, "critical"), (2.0, "error"), (1.0, "warning"))


@dataclass(frozen=True)
class Anomaly:
    """`type` is nan_inf, kl_explosion or loss_plateau; `severity` warning, error or critical."""

    type: str
    severity: str
    metric: str
    value: float
    message: str


def as_number(value: Any) -> float | None:
    """A scalar of any library as a float (also NaN and infinities); None for what is no number."""
    if isinstance(value, str | bytes):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return None


def find_not_finite(metrics: Mapping[str, Any]) -> Anomaly | None:
    """A loss, reward, divergence or gradient that is NaN or infinite."""
    for name, value in metrics.items():
        number = as_number(value)
        if number is not None and not math.isfinite(number) and _WATCHED_FOR_FINITE.search(name):
            return Anomaly("nan_inf", "critical", name, number, f"{name} is {number}")
    return None


class Detector:
    """Fed every step's metrics in order; remembers the best loss and for how long nothing beat it.

    kl_threshold: a divergence above it is an explosion, a warning at once, an error from twice, critical from
    five times the threshold. patience: steps without a relative improvement of at least `min_delta` before a loss
    counts as flat; told once for each time it goes flat.
    """

    def __init__(self, *, kl_threshold: float = KL_THRESHOLD, patience: int = 50, min_delta: float = 1e-3) -> None:
        self.kl_threshold = kl_threshold
        self.patience = patience
        self.min_delta = min_delta
        self._best = math.inf
        self._to_beat = math.inf
        self._best_step = 0
        self._told = False
        self._width = -1
        self._kl: tuple[str, ...] = ()
        self._loss = ""

    def look(self, step: int, metrics: Mapping[str, Any]) -> Anomaly | None:
        """The worst that this step shows, apart from values that are not finite (`find_not_finite`).

        `metrics` are numbers. Costs two tenths of a microsecond where nothing is wrong.
        """
        # Which of the names are there is looked up only now and then: a trainer logs the same ones every step.
        if len(metrics) != self._width or not step & _RELEARN_MASK:
            self._learn(metrics)
        high = self.kl_threshold
        try:
            for name in self._kl:
                if not -high < metrics[name] < high:
                    return self._judge_kl(name, metrics[name])
            if not self._loss:
                return None
            loss = metrics[self._loss]
        except KeyError:
            self._learn(metrics)
            return self.look(step, metrics)
        if loss < self._to_beat:
            self._best, self._best_step, self._told = loss, step, False
            self._to_beat = loss - self.min_delta * abs(loss)
            return None
        if step - self._best_step < self.patience or self._told:
            return None
        return self._judge_loss(self._loss, step, loss)

    def _learn(self, metrics: Mapping[str, Any]) -> None:
        self._width = len(metrics)
        self._kl = tuple(name for name in KL_METRICS if name in metrics)
        self._loss = next((name for name in LOSS_METRICS if name in metrics), "")

    def _judge_kl(self, name: str, value: float) -> Anomaly | None:
        if not math.isfinite(value):
            return None
        times = abs(value) / self.kl_threshold
        severity = next(severity for least, severity in _KL_SEVERITIES if times >= least)
        message = f"{name} is {value:.4g}, {times:.1f} times the threshold of {self.kl_threshold:g} ({severity})"
        return Anomaly("kl_explosion", severity, name, value, message)

    def _judge_loss(self, name: str, step: int, value: float) -> Anomaly | None:
        if not math.isfinite(value):
            return None
        self._told = True
        waited = step - self._best_step
        message = f"{name} has not fallen below {self._best:.4g} for {waited} steps"
        return Anomaly("loss_plateau", "warning", name, value, message)
