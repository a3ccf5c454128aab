"""The weights of a checkpoint as one folder that transformers loads. Runs in the training environment.

verl writes shards, one a rank, with the model's configuration and tokenizer beside them in `huggingface/`; where the
recipe asks for it, whole weights too. Shards are pickled: they are read here, in a run's own process, nowhere else.
"""

import os

from verl.model_merger.base_model_merger import ModelMergerConfig
from verl.model_merger.fsdp_model_merger import FSDPModelMerger

_WHOLE = "huggingface"
_POLICY = "actor"


def whole(checkpoint: str, target: str) -> str:
    """A folder with the whole weights of a `global_step_<n>`: its own, or `target` with the shards put together (in
    bfloat16, as verl does it). Raises what torch and verl raise for shards that cannot be read."""
    policy = os.path.join(checkpoint, _POLICY)
    folder = policy if os.path.isdir(policy) else checkpoint
    saved = os.path.join(folder, _WHOLE)
    if any(name.endswith(".safetensors") for name in os.listdir(saved)):
        return saved
    merger = FSDPModelMerger(
        ModelMergerConfig(
            operation="merge", backend="fsdp", local_dir=folder, target_dir=target, hf_model_config_path=saved
        )
    )
    merger.merge_and_save()
    merger.cleanup()
    return target


def adapter(folder: str) -> str | None:
    """Where verl put the adapter of a LoRA training, beside the weights it belongs to."""
    found = os.path.join(folder, "lora_adapter")
    return found if os.path.isdir(found) else None
