"""What a place makes of a recipe: settings that hold on this kind of machine, and the process's environment."""

import posixpath
from typing import Final

from platform_runtime import contract, models

from .spec import DatasetRef, Json, Place, RecipeSpec

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
"""Without these verl's SFT trainer does not run on a CPU: they win over the recipe."""


def required(place: Place) -> dict[str, Json]:
    """Settings that this place imposes on any recipe."""
    return {} if place.cuda else dict(CPU)


def owned(spec: RecipeSpec, dataset: DatasetRef, place: Place) -> dict[str, Json]:
    """The keys of `ownership.PLATFORM`, filled in. verl patches optim.total_training_steps itself."""
    return {
        "model.path": spec.base_model,
        "data.train_files": dataset.path,
        "data.val_files": None,
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


def argv(place: Place, config_path: str) -> list[str]:
    """The command. It only names the configuration: nothing of a recipe ever stands in an argument."""
    module = "platform_runtime.trainers.verl_sft"
    if place.processes == 1:
        return [place.python, "-P", "-m", module, "--config", config_path]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nnodes=1", f"--nproc-per-node={place.processes}"]
    return [place.python, "-P", *launcher, "-m", module, "--config", config_path]


def environment(place: Place, target_step: int | None) -> dict[str, str]:
    """The whole environment of the trainer: what it needs, and no secret of the platform's.

    The trainer's entry adds what is its own business: ranks, rendezvous, verl's external modules.
    """
    env = {
        "PATH": f"{posixpath.dirname(place.python)}:/usr/local/bin:/usr/bin:/bin",
        # The run's own folder: caches and dot files of one run are neither seen nor left anywhere else.
        "HOME": place.attempt_folder,
        "LANG": "C.UTF-8",
        "PYTHONPATH": place.runtime_path,
        "PYTHONSAFEPATH": "1",
        "PYTHONUNBUFFERED": "1",
        "HYDRA_FULL_ERROR": "1",
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_NUM_THREADS": str(place.cpu_threads),
        contract.ENV_JOB_UUID: place.uuid,
        contract.ENV_RUN_FOLDER: place.attempt_folder,
        models.ENV_MODELS_DIR: place.models_folder,
        contract.ENV_METRICS_DIR: posixpath.join(place.attempt_folder, contract.METRICS_DIR),
    }
    if target_step is not None:
        env[contract.ENV_TARGET_STEP] = str(target_step)
    if not place.cuda:
        # Threads that wait by spinning take the cores from those that work: a step that takes 0.4 s on two busy
        # cores took 5 s without it.
        env |= {"VERL_PLATFORM": "cpu", "CUDA_VISIBLE_DEVICES": "", "OMP_WAIT_POLICY": "PASSIVE"}
    return env
