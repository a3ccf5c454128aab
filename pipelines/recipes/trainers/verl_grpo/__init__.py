"""verl's PPO trainer (verl/trainer/main_ppo.py, v1) for GRPO and its kin: no critic, rewards by rule."""

import copy
import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import fields as fields_of
from dataclasses import replace
from functools import cache
from typing import Any, ClassVar, Final

from pipelines.recipes import places, resources, schema
from pipelines.recipes.fields import Group
from pipelines.recipes.spec import VERL, DatasetRef, Json, Leaf, Place, Problem, RecipeSpec, Tree
from pipelines.recipes.trainers.base import Rules, Steps, Trainer
from platform_runtime import rewards, rollouts

from . import fields, ownership, parallel, ranges, steps

GRPO: Final = "grpo"

LEFT_OUT: Final = (
    # A critic, other models that judge or teach, and names of former releases.
    "critic.", "distillation.", "reward.reward_model.", "reward_model.", "custom_reward_function.", "sandbox_fusion.",
    # Ray and what it is told are the platform's.
    "ray_kwargs.", "transfer_queue.enable", "transfer_queue.metrics.", "transfer_queue.backend.MooncakeStore.",
    # Ways to spare or spread work that need more than one host.
    "skip.", "trainer.v1.separate_async.", "actor_rollout_ref.rollout.disaggregation.",
    "actor_rollout_ref.rollout.prometheus.",
    # They follow global_profiler.
    "actor_rollout_ref.actor.profiler.", "actor_rollout_ref.ref.profiler.", "actor_rollout_ref.rollout.profiler.",
)  # fmt: skip
"""What such keys set stays at verl's default: they are no settings of a recipe."""

DEFAULTS: Final[Mapping[str, Json]] = {
    # verl's are PPO with a critic, and none.
    "algorithm.adv_estimator": "grpo",
    "actor_rollout_ref.rollout.name": "vllm",
    # One GPU must be enough.
    "actor_rollout_ref.rollout.tensor_model_parallel_size": 1,
}
"""In place of verl's own."""

_ENGINES: Final = ("actor_rollout_ref.actor.fsdp_config", "actor_rollout_ref.ref.fsdp_config")
_ENGINE: Final[dict[str, Json]] = {
    # The CPU engine is registered for FSDP2; compiling takes longer than a small run.
    "strategy": "fsdp2",
    "use_torch_compile": False,
    # Gloo reduces no bfloat16, and CPUs are slow at it.
    "model_dtype": "fp32",
    "mixed_precision.param_dtype": "fp32",
    "mixed_precision.reduce_dtype": "fp32",
    "mixed_precision.buffer_dtype": "fp32",
    # Nothing to offload from.
    "param_offload": False,
    "optimizer_offload": False,
    "offload_policy": False,
}

CPU: Final[dict[str, Json]] = {
    # flash-attn's kernels, which packing needs, and Triton's fused ones exist for GPUs only.
    "actor_rollout_ref.model.override_config.attn_implementation": "sdpa",
    "actor_rollout_ref.model.use_remove_padding": False,
    "actor_rollout_ref.model.use_liger": False,
    "actor_rollout_ref.model.use_fused_kernels": False,
    # The rollout for CPUs takes whole weights.
    "actor_rollout_ref.model.lora.merge": True,
    "actor_rollout_ref.rollout.name": "transformers",
    "actor_rollout_ref.rollout.tensor_model_parallel_size": 1,
    "actor_rollout_ref.rollout.data_parallel_size": 1,
    "actor_rollout_ref.rollout.pipeline_model_parallel_size": 1,
    "actor_rollout_ref.rollout.free_cache_engine": False,
    "actor_rollout_ref.rollout.load_format": "auto",
    # Each worker is a process that loads verl.
    "actor_rollout_ref.rollout.agent.num_workers": 1,
    "reward.num_workers": 1,
    "transfer_queue.backend.SimpleStorage.num_data_storage_units": 1,
    "trainer.v1.trainer_mode": "sync",
    "data.dataloader_num_workers": 0,
    "actor_rollout_ref.actor.strategy": "fsdp2",
    "actor_rollout_ref.ref.strategy": "fsdp2",
    "actor_rollout_ref.actor.use_torch_compile": False,
    "actor_rollout_ref.ref.use_torch_compile": False,
    **{f"{engine}.{key}": value for engine in _ENGINES for key, value in _ENGINE.items()},
}


@cache
def _tree() -> Tree:
    whole = schema.hydra_tree("ppo_trainer", ranges.TYPES)
    leaves = {key: leaf for key, leaf in whole.leaves.items() if not key.startswith(LEFT_OUT)}
    raw = copy.deepcopy(whole.raw)
    for key, value in DEFAULTS.items():
        leaves[key] = replace(leaves[key], default=value)
        *above, last = key.split(".")
        group: Any = raw
        for name in above:
            group = group[name]
        group[last] = value
    leaves |= {leaf.key: leaf for leaf in _reward_leaves()}
    return resources.beside(Tree(raw=raw, leaves=leaves))


def _reward_leaves() -> list[Leaf]:
    """verl hands whatever stands there to the reward function."""
    defaults = {field.name: field.default for field in fields_of(rewards.Settings)}
    return [
        schema.leaf(f"{steps.REWARDS}.{name}", default, None, {})  # type: ignore[arg-type]  # all have a default
        for name, default in defaults.items()
    ]


class VerlGrpo(Trainer):
    algorithm: ClassVar[str] = GRPO
    name: ClassVar[str] = VERL
    dataset_kind: ClassVar[str] = "prompts"
    rules: ClassVar[Rules] = Rules(
        platform=ownership.PLATFORM,
        admin=ownership.ADMIN,
        harmless=ownership.HARMLESS,
        words=ranges.WORDS,
        at_least=ranges.AT_LEAST,
        at_most=ranges.AT_MOST,
        not_zero=ranges.NOT_ZERO,
        lengths=ranges.LENGTHS,
        idle=ownership.IDLE,
        replaced=ownership.REPLACED,
        plain=ownership.PLAIN,
    )
    groups: ClassVar[tuple[Group, ...]] = fields.GROUPS
    cpu: ClassVar[Mapping[str, Json]] = CPU
    fork_keeps: ClassVar[tuple[str, ...]] = (
        "data.",
        "actor_rollout_ref.model.lora_",
        "actor_rollout_ref.model.target_",
        "actor_rollout_ref.model.exclude_",
    )
    fork_renews: ClassVar[tuple[str, ...]] = ("actor_rollout_ref.actor.optim.",)
    weights_alone: ClassVar[Mapping[str, Json]] = {"actor_rollout_ref.actor.checkpoint.load_contents": ["model"]}
    module: ClassVar[str] = "platform_runtime.trainers.verl_grpo"
    uses_ray: ClassVar[bool] = True

    def tree(self) -> Tree:
        return _tree()

    def steps(self, settings: Mapping[str, Any], rows: int, processes: int) -> Steps:
        return steps.steps(settings, rows, processes)

    def fewest(self, settings: Mapping[str, Any]) -> int:
        return parallel.fewest(settings)

    def saves_checkpoint(self, settings: Mapping[str, Any]) -> bool:
        return steps.saves_checkpoint(settings)

    def problems(self, settings: Mapping[str, Any], dataset: DatasetRef | None, processes: int) -> Iterator[Problem]:
        return steps.problems(settings, dataset, processes)

    def warnings(self, settings: Mapping[str, Any]) -> Iterator[Problem]:
        return steps.warnings(settings)

    def owned(self, spec: RecipeSpec, dataset: DatasetRef, place: Place) -> dict[str, Json]:
        """verl sets actor.optim.total_training_steps itself."""
        return {
            "actor_rollout_ref.model.path": spec.base_model,
            "data.train_files": dataset.path,
            "data.val_files": None,
            "trainer.default_local_dir": place.checkpoint_folder,
            "trainer.default_hdfs_dir": None,
            "trainer.rollout_data_dir": posixpath.join(place.attempt_folder, rollouts.FOLDER),
            "trainer.validation_data_dir": None,
            "trainer.test_freq": -1,
            "trainer.val_before_train": False,
            "trainer.val_only": False,
            "trainer.project_name": spec.slug,
            "trainer.experiment_name": place.uuid,
            "trainer.logger": ["console"],
            "trainer.device": "cuda" if place.cuda else "cpu",
            "trainer.nnodes": 1,
            "trainer.n_gpus_per_node": place.processes,
            "trainer.resume_mode": "resume_path" if place.resume_from else "disable",
            "trainer.resume_from_path": place.resume_from,
            "trainer.del_local_ckpt_after_load": False,
            "trainer.use_v1": True,
            "global_profiler.save_path": posixpath.join(place.attempt_folder, "profile"),
        }

    def argv(self, place: Place, config_path: str) -> list[str]:
        return places.plain(place, self.module, config_path)
