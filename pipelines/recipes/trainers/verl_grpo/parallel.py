"""How the GPUs of a GRPO run are shared out: among copies of the model that answers, and those that learn."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pipelines.recipes.spec import Problem, gettext_noop

_ACTOR: Final = "actor_rollout_ref.actor"
_ROLLOUT: Final = "actor_rollout_ref.rollout"
_SEQUENCE: Final = f"{_ACTOR}.ulysses_sequence_parallel_size"
_PADDING: Final = "actor_rollout_ref.model.use_remove_padding"
MOST_RANKS: Final = 512
"""Of a LoRA adapter that vLLM serves (verl/workers/rollout/vllm_rollout/utils.py)."""


def fewest(settings: Mapping[str, Any]) -> int:
    """A copy of the model that answers, and a row that is learned from, each need their group of GPUs."""
    return math.lcm(_replica(settings), settings[_SEQUENCE])


def _replica(settings: Mapping[str, Any]) -> int:
    sizes = [settings[f"{_ROLLOUT}.{kind}_parallel_size"] for kind in ("tensor_model", "data", "pipeline_model")]
    return math.prod(sizes)


def problems(settings: Mapping[str, Any], processes: int) -> Iterator[Problem]:
    yield from _groups(settings, processes)
    yield from _engine(settings)
    if settings[_SEQUENCE] > 1 and not settings[_PADDING]:
        # verl/workers/config/actor.py
        yield Problem(
            _PADDING,
            gettext_noop("%(key)s above 1 needs it: a sequence is cut into parts without padding only."),
            {"key": _SEQUENCE},
            suggestion="true",
        )


def _groups(settings: Mapping[str, Any], processes: int) -> Iterator[Problem]:
    for key, size in ((f"{_ROLLOUT}.tensor_model_parallel_size", _replica(settings)), (_SEQUENCE, settings[_SEQUENCE])):
        if processes % size:
            yield Problem(
                key,
                gettext_noop("%(gpus)d GPUs cannot be shared out in groups of %(size)d."),
                {"gpus": processes, "size": size},
                suggestion="1",
            )


def _engine(settings: Mapping[str, Any]) -> Iterator[Problem]:
    """What verl/workers/config/rollout.py refuses for the engine that answers."""
    name, experts = settings[f"{_ROLLOUT}.name"], settings[f"{_ROLLOUT}.expert_parallel_size"]
    group = settings[f"{_ROLLOUT}.tensor_model_parallel_size"] * settings[f"{_ROLLOUT}.data_parallel_size"]
    if name != "trtllm" and experts > 1 and experts != group:
        yield Problem(
            f"{_ROLLOUT}.expert_parallel_size",
            gettext_noop("It must be 1, or the %(group)d of tensor_model_parallel_size times data_parallel_size."),
            {"group": group},
            suggestion="1",
        )
    if name in ("vllm", "sglang", "trtllm") and settings[f"{_ROLLOUT}.pipeline_model_parallel_size"] > 1:
        yield Problem(
            f"{_ROLLOUT}.pipeline_model_parallel_size",
            gettext_noop("verl does not split a model by layers with %(engine)s."),
            {"engine": name},
            suggestion="1",
        )
    ranks = 0 if settings["actor_rollout_ref.model.lora.merge"] else _ranks(settings)
    if name == "vllm" and ranks > MOST_RANKS:
        yield Problem(
            "actor_rollout_ref.model.lora_rank",
            gettext_noop("vLLM serves an adapter of rank %(most)d at most."),
            {"most": MOST_RANKS},
            suggestion=str(MOST_RANKS),
        )


def _ranks(settings: Mapping[str, Any]) -> int:
    below = settings["actor_rollout_ref.model.lora.rank"]
    return int(below if below > 0 else settings["actor_rollout_ref.model.lora_rank"])
