"""Every verl trainer reports through `verl.utils.tracking.Tracking`: a hook on that class hears each step.

Loaded by verl itself, named in VERL_USE_EXTERNAL_MODULES, in whatever process imports verl: so it works in the
SFT trainer and inside Ray's TaskRunner alike. Outside a run of the platform it does nothing.
"""

import functools
from collections.abc import Mapping
from typing import Any

from verl.utils.tracking import Tracking

from platform_runtime.callback import PlatformCallback

BACKEND = "platform"
_callbacks: list[PlatformCallback] = []


class _Adapter:
    """A logger as Tracking knows them."""

    def __init__(self, callback: PlatformCallback) -> None:
        self.callback = callback

    def log(self, data: Mapping[str, Any], step: int) -> None:
        self.callback.step(int(step), data)


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
        callback = PlatformCallback.from_environment()
        if callback is not None:
            callback.begin(target_of(config))
            _callbacks.append(callback)
            # First of all: another logger that fails must not keep a step from us.
            self.logger = {BACKEND: _Adapter(callback), **self.logger}

    @functools.wraps(original_finish)
    def finish(self: Any, exit_code: int = 0) -> None:
        adapter = getattr(self, "logger", {}).get(BACKEND)
        if adapter is not None:
            adapter.callback.end(failed=exit_code != 0)
        original_finish(self, exit_code)

    Tracking.__init__, Tracking.finish = init, finish


install()
