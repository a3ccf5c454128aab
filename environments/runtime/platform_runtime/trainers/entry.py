"""What every entry around verl's engine does: environment, configuration, model, and telling how it ended.

`python -P -m platform_runtime.trainers.NAME --config config.yaml`, in the training environment. The file holds the
trainer's whole tree, nothing is composed here. What the platform adds: a model named `builtin:…` is made on the spot,
verl loads our CPU platform and our callback, and `trainer.seed` is the seed.
"""

import argparse
import contextlib
import logging
import os
from collections.abc import Callable, Sequence
from typing import Any, Final

EXTERNAL_MODULES: Final = (
    "platform_runtime.cpu_platform",
    "platform_runtime.verl_compat",
    "platform_runtime.verl_hook",
)


def main(name: str, fit: Callable[[Any, str], None], arguments: list[str]) -> int:
    """`fit` is given the configuration, an OmegaConf tree, and the folder that it stands in."""
    train(config_path(name, arguments), fit)
    return 0


def config_path(name: str, arguments: list[str]) -> str:
    """The file that the command line of an entry names."""
    parser = argparse.ArgumentParser(prog=name, description="Run a trainer on a complete configuration.")
    parser.add_argument("--config", required=True)
    logging.basicConfig(level=logging.WARNING)
    path: str = parser.parse_args(arguments).config
    return path


def train(config_path: str, fit: Callable[[Any, str], None]) -> None:
    folder = os.path.dirname(os.path.abspath(config_path))
    prepare_environment()
    meet(folder)
    # After the environment is set: verl reads it while it is being imported.
    from omegaconf import OmegaConf  # noqa: PLC0415
    from transformers import set_seed  # noqa: PLC0415
    from verl.utils.device import auto_set_device  # noqa: PLC0415

    from platform_runtime import literals, models, verl_hook  # noqa: PLC0415

    config = OmegaConf.load(config_path)
    config.model.path = models.local_model(config.model.path, folder)
    auto_set_device(config)
    literals.keep()
    # verl/trainer/sft_trainer.py never reads it: a new adapter would begin anywhere.
    set_seed(config.trainer.seed)
    try:
        fit(config, folder)
    except BaseException:
        verl_hook.end_all(failed=True)
        raise
    verl_hook.end_all(failed=False)
    with contextlib.suppress(OSError):
        os.unlink(_meeting(folder))


def prepare_environment(modules: Sequence[str] = EXTERNAL_MODULES) -> None:
    """What must stand before torch and verl are imported: what verl is to load, and how threads wait."""
    named = [name for name in os.environ.get("VERL_USE_EXTERNAL_MODULES", "").split(",") if name]
    named += [name for name in modules if name not in named]
    os.environ["VERL_USE_EXTERNAL_MODULES"] = ",".join(named)
    # Threads that wait in a loop make a step ten to thirty times slower as soon as anything else wants the
    # processors, and a platform on the same machine does. Read once, when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")


def meet(folder: str) -> None:
    """Where the processes of a training find each other. A launcher's own values (torchrun) are kept."""
    if "RANK" not in os.environ:
        os.environ.update(RANK="0", WORLD_SIZE="1", LOCAL_RANK="0", LOCAL_WORLD_SIZE="1")
        # A file instead of a port: two runs on one machine never get into each other's way. verl asks for an
        # address all the same, and does not use it.
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="0")
        os.environ["DIST_INIT_METHOD"] = f"file://{_meeting(folder)}?rank=0&world_size=1"
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")


def _meeting(folder: str) -> str:
    return os.path.join(folder, f".rendezvous-{os.getpid()}")
