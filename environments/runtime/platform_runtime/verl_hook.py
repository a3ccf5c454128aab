"""Every verl trainer reports through `verl.utils.tracking.Tracking`: a hook on that class hears each step.

Loaded by verl itself, named in VERL_USE_EXTERNAL_MODULES, in whatever process imports verl: so it works in the
SFT trainer and inside Ray's TaskRunner alike. Outside a run of the platform only callbacks that were added hear.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from verl.utils.tracking import Tracking

from platform_runtime.callback import PlatformCallback, TrainerCallback

BACKEND = "platform"
_added: list[TrainerCallback] = []
_callbacks: list[TrainerCallback] = []


def add_callback(callback: TrainerCallback) -> None:
    """Have every verl trainer of this process tell `callback` too: begin, each step, end. Before the trainer starts.

    PPO's steps are told in Ray's TaskRunner, another process: call this in a module that VERL_USE_EXTERNAL_MODULES
    names, and it is called there as well. What a callback raises ends the training, as anything in it would.
    """
    _added.append(callback)


class _Adapter:
    """A logger as Tracking knows them."""

    def __init__(self, callbacks: Sequence[TrainerCallback]) -> None:
        self.callbacks = callbacks

    def log(self, data: Mapping[str, Any], step: int) -> None:
        for callback in self.callbacks:
            callback.step(int(step), data)


def target_of(config: Mapping[str, Any] | None) -> int | None:
    """The number of steps that a trainer's configuration asks for, where it says so."""
    trainer = (config or {}).get("trainer")
    steps = trainer.get("total_training_steps") if isinstance(trainer, Mapping) else None
    return steps if isinstance(steps, int) and steps > 0 else None


def end_all(*, failed: bool) -> None:
    """For the one who runs the trainer and knows how it went: Tracking itself does not learn of an exception."""
    for callback in _callbacks:
        callback.end(failed=failed)


def install() -> None:
    """Hook into Tracking, once a process."""
    if BACKEND in Tracking.supported_backend:
        return
    Tracking.supported_backend.append(BACKEND)
    original_init, original_finish = Tracking.__init__, Tracking.finish

    @functools.wraps(original_init)
    def init(
        self: Any,
        project_name: str,
        experiment_name: str,
        default_backend: str | list[str] = "console",
        config: Mapping[str, Any] | None = None,
    ) -> None:
        original_init(self, project_name, experiment_name, default_backend, config)
        ours = PlatformCallback.from_environment()
        callbacks = [*([ours] if ours is not None else []), *_added]
        for callback in callbacks:
            callback.begin(target_of(config))
        if callbacks:
            _callbacks.extend(callbacks)
            # First of all: another logger that fails must not keep a step from us.
            self.logger = {BACKEND: _Adapter(callbacks), **self.logger}

    @functools.wraps(original_finish)
    def finish(self: Any, exit_code: int = 0) -> None:
        adapter = getattr(self, "logger", {}).get(BACKEND)
        for callback in adapter.callbacks if adapter is not None else ():
            callback.end(failed=exit_code != 0)
        original_finish(self, exit_code)

    Tracking.__init__, Tracking.finish = init, finish


install()
