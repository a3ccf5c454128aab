"""verl's FSDP engines, registered for the device "cpu". Imported by cpu_platform once the platform is set."""

from typing import Any

from verl.workers.engine.base import EngineRegistry
from verl.workers.engine.fsdp import transformer_impl

_BACKENDS = ["fsdp", "fsdp2"]
_OffloadPolicy = transformer_impl.CPUOffloadPolicy


def _offload_policy(pin_memory: bool = True) -> Any:
    # Pinning is for copies to a GPU and fails where there is none.
    return _OffloadPolicy(pin_memory=False)


def install() -> None:
    transformer_impl.CPUOffloadPolicy = _offload_policy

    @EngineRegistry.register(model_type="language_model", backend=_BACKENDS, device=["cpu"])
    class CpuLanguageModelEngine(transformer_impl.FSDPEngineWithLMHead):
        pass

    @EngineRegistry.register(model_type="value_model", backend=_BACKENDS, device=["cpu"])
    class CpuValueModelEngine(transformer_impl.FSDPEngineWithValueHead):
        pass
