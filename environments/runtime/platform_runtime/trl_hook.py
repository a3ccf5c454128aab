"""What TRL's trainers (and any of transformers) report: a callback of theirs that feeds ours.

Names are verl's, so that runs of both can be laid side by side: `train/loss`, `train/lr`, `val/loss`. It also gives
checkpoints the platform's name, once they are whole.
"""

import os
import shutil
from collections.abc import Mapping
from typing import Any, Final

import torch
from transformers import TrainerCallback

from platform_runtime import checkpoints
from platform_runtime.callback import TrainerCallback as OurCallback

# Told once at the end of a run or of a validation (transformers/trainer_utils.py, speed_metrics), or no measure at all.
_NO_METRICS: Final = ("runtime", "samples_per_second", "steps_per_second", "total_flos", "train_loss", "epoch")


class PlatformHook(TrainerCallback):
    """Each log of the trainer is a line of a step. `callback` is None outside the platform and on all ranks but one."""

    def __init__(self, callback: OurCallback | None) -> None:
        self._callback = callback

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self._callback is not None:
            self._callback.begin(state.max_steps)

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **_: Any) -> None:
        told = {named(name): value for name, value in (logs or {}).items() if not name.endswith(_NO_METRICS)}
        if self._callback is not None and told:
            self._callback.step(state.global_step, told)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """`checkpoint-<n>` becomes `global_step_<n>` when every rank has written its part; the oldest go.

        So nobody ever sees half a checkpoint under that name. transformers itself removes those of its own name only.
        """
        if torch.distributed.is_initialized():
            torch.distributed.barrier()
        if not state.is_world_process_zero:
            return
        os.rename(os.path.join(args.output_dir, f"checkpoint-{state.global_step}"), _path(args, state.global_step))
        if args.save_total_limit:
            for step in checkpoints.steps(args.output_dir)[args.save_total_limit :]:
                shutil.rmtree(_path(args, step))


def named(name: str) -> str:
    """transformers' name of a metric as verl has it."""
    if name == "learning_rate":
        return "train/lr"
    return f"val/{name.removeprefix('eval_')}" if name.startswith("eval_") else f"train/{name}"


def _path(args: Any, step: int) -> str:
    return os.path.join(args.output_dir, checkpoints.folder_name(step))
