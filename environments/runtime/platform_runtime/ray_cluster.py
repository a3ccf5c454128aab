"""A training on a Ray cluster that is there already: what its workers are told. Before Ray is imported, stdlib only.

The runner hands on what Ray tells a job (`RAY_ADDRESS` and how to sign in). The cluster's workers are children of its
own daemons and inherit nothing of ours: all that they need of the environment goes with the job. None of it is secret.
"""

import os
import shlex
import sys
from typing import Any, Final

HANDED_ON: Final = (
    "PYTHONPATH", "PYTHONSAFEPATH", "PYTHONUNBUFFERED", "PYTHONWARNINGS", "HYDRA_FULL_ERROR", "TOKENIZERS_PARALLELISM",
    "OMP_NUM_THREADS", "OMP_WAIT_POLICY", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY",
    "VERL_PLATFORM", "VERL_USE_EXTERNAL_MODULES", "TRANSFER_QUEUE_ENABLE", "TQ_NUM_THREADS", "GLOO_SOCKET_IFNAME",
    "DIST_INIT_METHOD", "ANNEAL_JOB_UUID", "ANNEAL_METRICS_DIR", "ANNEAL_MODELS_DIR", "ANNEAL_RUN_FOLDER",
    "ANNEAL_TARGET_STEP",
)  # fmt: skip


def address() -> str:
    """Of the cluster to attach to; empty where the run has a Ray of its own."""
    found = os.environ.get("RAY_ADDRESS", "")
    return "" if found == "local" else found


def arguments(config: Any) -> dict[str, Any]:
    """For `ray.init`: attach. How many processors and GPUs there are, the cluster knows."""
    from omegaconf import OmegaConf  # noqa: PLC0415
    from verl.trainer.constants_ppo import get_ppo_ray_runtime_env  # noqa: PLC0415

    if config.trainer.device == "cpu":
        # Without GPUs all workers are on one machine, and meet at a file: torch's own server would listen everywhere.
        os.environ["DIST_INIT_METHOD"] = f"file://{os.getcwd()}/ray/meeting"
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    given = OmegaConf.to_container(config.ray_kwargs.ray_init, resolve=True)
    assert isinstance(given, dict)
    wanted = {name: value for name, value in (given.get("runtime_env") or {}).items() if value is not None}
    usual = get_ppo_ray_runtime_env(config)
    told = {name: os.environ[name] for name in HANDED_ON if name in os.environ}
    return {
        "address": address(),
        "runtime_env": {
            **usual,
            **wanted,
            "py_executable": shlex.quote(sys.executable),
            "env_vars": {**usual.get("env_vars", {}), **wanted.get("env_vars", {}), **told},
        },
    }
