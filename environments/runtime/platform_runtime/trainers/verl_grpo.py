"""verl's PPO trainer (verl/trainer/main_ppo.py, v1) for GRPO, on the configuration of a run folder: verl's whole
`ppo_trainer` tree. See entry.py.

The trainer works in this process, and its workers in a Ray instance of the run's own. verl would put the trainer into
one more Ray actor, which is of use on a cluster alone: here the log tells its errors as they are, and a run starts
seconds sooner. Where `RAY_ADDRESS` names a cluster, the workers are that cluster's: see `ray_cluster.py`.
"""

import functools
import json
import os
import secrets
import shlex
import shutil
import sys
import warnings
from typing import Any, Final

from platform_runtime import ray_cluster
from platform_runtime.trainers import entry

EXTERNAL_MODULES: Final = ("platform_runtime.verl_literals", *entry.EXTERNAL_MODULES, "platform_runtime.verl_rollouts")
RAY: Final = "ray"
"""The folder in the run's own that holds all that Ray writes."""
SCRATCH: Final = "scratch"
LOGICAL_CPUS: Final = 64
EXACT_MATCH: Final = "reward.custom_reward_function.reward_kwargs.exact_match"


def train(config_path: str) -> None:
    folder = os.path.dirname(os.path.abspath(config_path))
    os.chdir(folder)
    prepare_environment(folder)
    # After the environment is set: verl reads it while it is being imported.
    from verl.utils.device import auto_set_device  # noqa: PLC0415

    from platform_runtime import verl_hook  # noqa: PLC0415

    values = read(config_path)
    localise(values, folder)
    config = for_verl(values)
    auto_set_device(config)
    try:
        fit(config)
    except BaseException:
        verl_hook.end_all(failed=True)
        raise
    verl_hook.end_all(failed=False)
    # Where a run failed, Ray's own logs stay.
    shutil.rmtree(os.path.join(folder, RAY), ignore_errors=True)


def prepare_environment(folder: str) -> None:
    """What must stand before Ray, torch and verl are imported. Ray's processes inherit it."""
    entry.prepare_environment(EXTERNAL_MODULES)
    own = os.path.join(folder, RAY)
    os.makedirs(os.path.join(own, SCRATCH), mode=0o700, exist_ok=True)
    if not ray_cluster.address():
        keep_to_itself(os.path.join(own, "token"))
    os.environ.update(
        RAY_USAGE_STATS_ENABLED="0",
        RAY_DEDUP_LOGS="0",
        RAY_COLOR_PREFIX="0",
        # For verl's lock files and whatever else.
        TMPDIR=short(os.path.join(RAY, SCRATCH)),
        # As main_ppo.py does for the actor that it would train in.
        TRANSFER_QUEUE_ENABLE="1",
    )
    # Of its default the queue would say with each batch that it is more than there are cores.
    os.environ.setdefault("TQ_NUM_THREADS", str(min(8, os.cpu_count() or 1)))
    # Each process would tell of five engines that are not installed.
    os.environ.setdefault("PYTHONWARNINGS", "ignore::UserWarning:verl.workers.engine")
    warnings.filterwarnings("ignore", category=UserWarning, module=r"verl\.workers\.engine\Z")


def keep_to_itself(token: str) -> None:
    """Nobody else is to talk to this Ray: not from this machine, and not from another. The switch makes Ray, and all
    that ask Ray for an address, listen on the loopback interface alone (ray/_private/services.py); what verl's queue
    receives is unpickled."""
    with open(token, "w", opener=functools.partial(os.open, mode=0o600), encoding="ascii") as file:
        file.write(secrets.token_hex(32))
    os.environ.update(
        RAY_AUTH_MODE="token",
        RAY_AUTH_TOKEN_PATH=token,
        RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0",
        GLOO_SOCKET_IFNAME="lo",
    )


def read(config_path: str) -> dict[str, Any]:
    """The values in the file, with nothing left to resolve."""
    from omegaconf import OmegaConf  # noqa: PLC0415

    values: Any = OmegaConf.to_container(OmegaConf.load(config_path), resolve=True)
    return dict(values)


def for_verl(values: dict[str, Any]) -> Any:
    """An OmegaConf tree that gives verl these values: main_ppo.py resolves it once in place, and then each value is
    resolved again as it is read."""
    from omegaconf import OmegaConf  # noqa: PLC0415

    from platform_runtime import literals  # noqa: PLC0415

    return OmegaConf.create(literals.escape(literals.escape(values)))


def short(name: str) -> str:
    """A folder of the run, by a path of some twenty characters.

    The path of a socket may have 107 in all, a run folder's may have more, and a run that is killed must leave nothing
    in `/tmp`. This one leads there as long as this process lives, and so long does its Ray.
    """
    return f"/proc/{os.getpid()}/cwd/{name}"


def localise(config: dict[str, Any], folder: str) -> None:
    """Model, data and reward as they are on this host. Raises ValueError that says what is wrong, and OSError."""
    from platform_runtime import models, prompts, rewards  # noqa: PLC0415 - pyarrow, after the environment is set

    def local(files: Any) -> Any:
        if isinstance(files, list):
            return [local(one) for one in files]
        if not files.endswith(".jsonl"):
            return files
        return prompts.to_parquet(files, os.path.join(folder, "data"), compared=compared)

    reward, compared = config["reward"]["custom_reward_function"], ""
    if reward["path"] is None:
        if rewards.Settings.of(reward.get("reward_kwargs") or {}).exact_match:
            compared = EXACT_MATCH
        reward.update(path=rewards.MODULE, name=rewards.FUNCTION)
    model, data = config["actor_rollout_ref"]["model"], config["data"]
    model["path"] = models.local_model(model["path"], folder)
    check_lengths(model["path"], data["max_prompt_length"] + data["max_response_length"])
    data["train_files"] = local(data["train_files"])
    if data["val_files"] is not None:
        data["val_files"] = local(data["val_files"])
    else:
        # verl loads validation data whether it validates or not: one row of what there is.
        data["val_files"], data["val_max_samples"] = data["train_files"], 1


def check_lengths(model: str, longest: int) -> None:
    """Of a prompt with its answer, in tokens. Raises ValueError where the model says that it takes less: it would learn
    nonsense, or fail hours later."""
    try:
        with open(os.path.join(model, "config.json"), encoding="utf-8") as file:
            most = json.load(file)["max_position_embeddings"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    if isinstance(most, int) and longest > most:
        raise ValueError(
            f"A prompt and its answer may have {longest} tokens, and the model takes {most}: lower "
            "data.max_prompt_length or data.max_response_length."
        )


def fit(config: Any) -> None:
    """What `main` and `run_ppo` of main_ppo.py do, with the trainer here."""
    import ray  # noqa: PLC0415
    from verl.trainer import main_ppo  # noqa: PLC0415
    from verl.trainer.ppo.utils import need_critic, need_reference_policy  # noqa: PLC0415
    from verl.utils.config import validate_config  # noqa: PLC0415

    from platform_runtime import verl_rollouts  # noqa: PLC0415

    validate_config(config, use_reference_policy=need_reference_policy(config), use_critic=need_critic(config))
    verl_rollouts.hook_trainer()
    # It would print the configuration, a thousand lines that stand in config.yaml.
    main_ppo.pprint = lambda *_: None
    ray.init(**(ray_cluster.arguments(config) if ray_cluster.address() else ray_arguments(config)))
    try:
        # The class below Ray's actor class, which is one that says how to make an actor of it.
        main_ppo.TaskRunnerV1.__ray_metadata__.modified_class().run(config)
    finally:
        ray.shutdown()


def ray_arguments(config: Any) -> dict[str, Any]:
    """For `ray.init`: a new instance, whose files are the run's."""
    from omegaconf import OmegaConf  # noqa: PLC0415
    from verl.trainer.constants_ppo import get_ppo_ray_runtime_env  # noqa: PLC0415

    given = OmegaConf.to_container(config.ray_kwargs.ray_init, resolve=True)
    assert isinstance(given, dict)
    wanted = {name: value for name, value in (given.pop("runtime_env", None) or {}).items() if value is not None}
    # They only count who may start: with too few verl waits for ever.
    given["num_cpus"] = max(LOGICAL_CPUS, os.cpu_count() or 1)
    if config.trainer.device == "cpu":
        gpus = config.trainer.n_gpus_per_node
        # verl asks Ray for nothing but GPUs. Ray grants no more than are visible, and none is a number of no device.
        given["num_gpus"] = gpus
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(["-1"] * gpus)
        # The workers meet at a file: torch's own server would listen on every interface.
        os.environ["DIST_INIT_METHOD"] = f"file://{short(RAY)}/meeting"
    return {
        **given,
        "address": "local",
        "include_dashboard": False,
        # Ray starts its workers through a shell, and quotes all but the Python (ray/_private/runtime_env/context.py).
        "runtime_env": {**get_ppo_ray_runtime_env(config), **wanted, "py_executable": shlex.quote(sys.executable)},
        "_temp_dir": short(RAY),
    }


if __name__ == "__main__":
    train(entry.config_path("verl_grpo", sys.argv[1:]))
