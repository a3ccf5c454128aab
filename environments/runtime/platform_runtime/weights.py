"""The weights of a checkpoint as folders that transformers and peft load. Runs in the training environment.

verl writes shards, one a rank, with the model's configuration and tokenizer beside them in `huggingface/`; where the
recipe asks for it, whole weights too. Shards are pickled: they are read here, in a run's own process, nowhere else.
Trainers built on transformers write whole weights, or an adapter that names its model.
"""

import json
import os

_WHOLE = "huggingface"
_POLICY = "actor"
_ADAPTER = "adapter_config.json"


def whole(checkpoint: str, target: str) -> tuple[str, str | None]:
    """The folder with the whole weights of a `global_step_<n>`, and the one of an adapter that goes with them.

    Shards are put together in `target` (in bfloat16, as verl does it). Raises what torch and verl raise for shards that
    cannot be read, OSError and ValueError for an adapter that does not name its model.
    """
    if os.path.isfile(os.path.join(checkpoint, _ADAPTER)):
        with open(os.path.join(checkpoint, _ADAPTER), encoding="utf-8") as file:
            named: str = json.load(file)["base_model_name_or_path"]
        return named, checkpoint
    policy = os.path.join(checkpoint, _POLICY)
    folder = policy if os.path.isdir(policy) else checkpoint
    saved = os.path.join(folder, _WHOLE)
    for found in (checkpoint, saved):
        if os.path.isdir(found) and any(name.endswith(".safetensors") for name in os.listdir(found)):
            return found, _verl_adapter(found)
    _merge(folder, saved, target)
    return target, _verl_adapter(target)


def _merge(shards: str, saved: str, target: str) -> None:
    # Nothing else here needs verl, and it takes its time to load.
    from verl.model_merger.base_model_merger import ModelMergerConfig  # noqa: PLC0415
    from verl.model_merger.fsdp_model_merger import FSDPModelMerger  # noqa: PLC0415

    merger = FSDPModelMerger(
        ModelMergerConfig(
            operation="merge", backend="fsdp", local_dir=shards, target_dir=target, hf_model_config_path=saved
        )
    )
    merger.merge_and_save()
    merger.cleanup()


def _verl_adapter(folder: str) -> str | None:
    """Where verl puts the adapter of a LoRA training, beside the weights it belongs to."""
    found = os.path.join(folder, "lora_adapter")
    return found if os.path.isdir(found) else None
