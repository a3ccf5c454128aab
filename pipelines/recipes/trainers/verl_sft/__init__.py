"""verl's SFT trainer (verl/trainer/sft_trainer.py), on its FSDP engine."""

import posixpath
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, ClassVar, Final

from pipelines.recipes import places, resources, schema
from pipelines.recipes.fields import Group
from pipelines.recipes.spec import SFT, VERL, DatasetRef, Json, Place, Problem, RecipeSpec, Tree
from pipelines.recipes.trainers.base import Rules, Steps, Trainer

from . import fields, ownership, ranges, steps

CPU: Final[dict[str, Json]] = {
    # flash-attn's kernels, which packing needs, and Triton's fused ones exist for GPUs only.
    "model.override_config.attn_implementation": "sdpa",
    "model.use_remove_padding": False,
    "model.use_liger": False,
    "model.use_fused_kernels": False,
    # The CPU engine is registered for FSDP2; compiling takes longer than a small run.
    "engine.strategy": "fsdp2",
    "engine.use_torch_compile": False,
    # Gloo reduces no bfloat16, and CPUs are slow at it.
    "engine.model_dtype": "fp32",
    "engine.mixed_precision.param_dtype": "fp32",
    "engine.mixed_precision.reduce_dtype": "fp32",
    "engine.mixed_precision.buffer_dtype": "fp32",
    # Nothing to offload from, and loader processes would take the cores that train.
    "engine.param_offload": False,
    "engine.optimizer_offload": False,
    "engine.offload_policy": False,
    "data.num_workers": 0,
}


@cache
def _tree() -> Tree:
    return resources.beside(schema.hydra_tree("sft_trainer_engine", ranges.TYPES))


class VerlSft(Trainer):
    algorithm: ClassVar[str] = SFT
    name: ClassVar[str] = VERL
    dataset_kind: ClassVar[str] = "sft"
    rules: ClassVar[Rules] = Rules(
        platform=ownership.PLATFORM,
        admin=ownership.ADMIN,
        harmless=ownership.HARMLESS,
        words=ranges.WORDS,
        at_least=ranges.AT_LEAST,
        at_most=ranges.AT_MOST,
        not_zero=ranges.NOT_ZERO,
        lengths=ranges.LENGTHS,
    )
    groups: ClassVar[tuple[Group, ...]] = fields.GROUPS
    cpu: ClassVar[Mapping[str, Json]] = CPU
    # The order of the data stands in the checkpoint, and so does the shape of an adapter.
    fork_keeps: ClassVar[tuple[str, ...]] = ("data.", "model.lora_", "model.target_", "model.exclude_")
    fork_renews: ClassVar[tuple[str, ...]] = ("optim.",)
    weights_alone: ClassVar[Mapping[str, Json]] = {"checkpoint.load_contents": ["model"]}
    module: ClassVar[str] = "platform_runtime.trainers.verl_sft"

    def tree(self) -> Tree:
        return _tree()

    def steps(self, settings: Mapping[str, Any], rows: int, processes: int) -> Steps:
        return steps.steps(settings, rows, processes)

    def fewest(self, settings: Mapping[str, Any]) -> int:
        size: int = settings["engine.ulysses_sequence_parallel_size"]
        return size

    def saves_checkpoint(self, settings: Mapping[str, Any]) -> bool:
        return steps.saves_checkpoint(settings)

    def problems(self, settings: Mapping[str, Any], dataset: DatasetRef | None, processes: int) -> Iterator[Problem]:
        return steps.problems(settings, dataset, processes)

    def warnings(self, settings: Mapping[str, Any]) -> Iterator[Problem]:
        return steps.warnings(settings)

    def owned(self, spec: RecipeSpec, dataset: DatasetRef, place: Place) -> dict[str, Json]:
        """verl patches optim.total_training_steps itself."""
        return {
            "model.path": spec.base_model,
            "data.train_files": dataset.path,
            "data.val_files": None,
            "trainer.test_freq": -1,
            "trainer.default_local_dir": place.checkpoint_folder,
            "trainer.default_hdfs_dir": None,
            "trainer.project_name": spec.slug,
            "trainer.experiment_name": place.uuid,
            "trainer.logger": ["console"],
            "trainer.device": "cuda" if place.cuda else "cpu",
            "trainer.nnodes": 1,
            "trainer.n_gpus_per_node": place.processes,
            "trainer.resume_mode": "resume_path" if place.resume_from else "disable",
            "trainer.resume_from_path": place.resume_from,
            "profiler.save_path": posixpath.join(place.attempt_folder, "profile"),
        }

    def argv(self, place: Place, config_path: str) -> list[str]:
        return places.torchrun(place, self.module, config_path)
