"""How a trainer is started at a place: its command, and the process's environment."""

import posixpath

from platform_runtime import contract, models

from .spec import Place


def torchrun(place: Place, module: str, config_path: str) -> list[str]:
    """A trainer that is one process, or one a GPU."""
    if place.processes == 1:
        return plain(place, module, config_path)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nnodes=1", f"--nproc-per-node={place.processes}"]
    return [place.python, "-P", *launcher, "-m", module, "--config", config_path]


def plain(place: Place, module: str, config_path: str) -> list[str]:
    """A trainer that is one process, or starts the others itself."""
    return [place.python, "-P", "-m", module, "--config", config_path]


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
