"""Hear every step of a verl trainer, outside the platform.

    export PYTHONPATH=examples:environments/runtime VERL_USE_EXTERNAL_MODULES=verl_callback
    python -m verl.trainer.sft_trainer …            # or main_ppo, or torchrun …

verl imports this module in every process of its own, Ray's included. The metrics and the status of the run are then
files in `RUN_METRICS` (`./metrics`): one JSON line a step, and how far it is, with anomalies.
"""

import os
from collections.abc import Mapping
from typing import Any

from platform_runtime.callback import PlatformCallback, TrainerCallback
from platform_runtime.verl_hook import add_callback


class LowestLoss(TrainerCallback):
    """A callback of one's own: whatever it wants to do at the beginning, at each step and at the end."""

    def __init__(self) -> None:
        self.lowest: tuple[float, int] | None = None

    def step(self, step: int, metrics: Mapping[str, Any]) -> None:
        loss = metrics.get("train/loss", metrics.get("actor/pg_loss"))
        if loss is not None and (self.lowest is None or loss < self.lowest[0]):
            self.lowest = (float(loss), step)

    def end(self, *, failed: bool = False) -> None:
        if self.lowest is not None:
            print("lowest loss {:.4f} at step {}".format(*self.lowest), flush=True)


add_callback(PlatformCallback(os.environ.get("RUN_NAME", "my-run"), os.environ.get("RUN_METRICS", "metrics")))
add_callback(LowestLoss())
