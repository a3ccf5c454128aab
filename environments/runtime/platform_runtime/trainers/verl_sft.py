"""verl's SFT trainer on the configuration of a run folder.

`python -P -m platform_runtime.trainers.verl_sft --config config.yaml`, in the training environment. The file
holds verl's whole `sft_trainer_engine` tree, nothing is composed here. What the platform adds: a model named
`builtin:…` is made on the spot, JSONL becomes parquet, verl loads our CPU platform and our callback.
"""

import argparse
import contextlib
import logging
import os
import sys
from typing import Any

EXTERNAL_MODULES = ("platform_runtime.cpu_platform", "platform_runtime.verl_hook")


def prepare_environment(folder: str) -> None:
    """What must stand before torch and verl are imported. A launcher's own values (torchrun) are kept."""
    modules = [name for name in os.environ.get("VERL_USE_EXTERNAL_MODULES", "").split(",") if name]
    modules += [name for name in EXTERNAL_MODULES if name not in modules]
    os.environ["VERL_USE_EXTERNAL_MODULES"] = ",".join(modules)
    if "RANK" not in os.environ:
        os.environ.update(RANK="0", WORLD_SIZE="1", LOCAL_RANK="0", LOCAL_WORLD_SIZE="1")
        # A file instead of a port: two runs on one machine never get into each other's way. verl asks for an
        # address all the same, and does not use it.
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="0")
        os.environ["DIST_INIT_METHOD"] = f"file://{_meeting(folder)}?rank=0&world_size=1"
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    # Threads that wait in a loop make a step ten to thirty times slower as soon as anything else wants the
    # processors, and a platform on the same machine does. Read once, when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")


def _meeting(folder: str) -> str:
    return os.path.join(folder, f".rendezvous-{os.getpid()}")


def local_data(files: Any, folder: str) -> Any:
    """The data files of the configuration, a name or a list of them, with parquet in place of JSONL."""
    from platform_runtime.data import to_parquet  # noqa: PLC0415

    def one(path: str) -> str:
        return to_parquet(path, os.path.join(folder, "data")) if path.endswith(".jsonl") else path

    if files is None:
        return None
    return one(files) if isinstance(files, str) else [one(path) for path in files]


def train(config_path: str) -> None:
    folder = os.path.dirname(os.path.abspath(config_path))
    prepare_environment(folder)
    # After the environment is set: verl reads it while it is being imported.
    from omegaconf import OmegaConf  # noqa: PLC0415
    from verl.trainer.sft_trainer import run_sft  # noqa: PLC0415
    from verl.utils.device import auto_set_device  # noqa: PLC0415

    from platform_runtime import literals, models, verl_hook  # noqa: PLC0415

    config = OmegaConf.load(config_path)
    config.model.path = models.local_model(config.model.path, folder)
    config.data.train_files = local_data(config.data.train_files, folder)
    config.data.val_files = local_data(config.data.val_files, folder)
    auto_set_device(config)
    literals.keep()
    try:
        run_sft(config)
    except BaseException:
        verl_hook.end_all(failed=True)
        raise
    verl_hook.end_all(failed=False)
    with contextlib.suppress(OSError):
        os.unlink(_meeting(folder))


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="verl_sft", description="Run verl's SFT trainer on a complete config.")
    parser.add_argument("--config", required=True)
    logging.basicConfig(level=logging.WARNING)
    train(parser.parse_args(arguments).config)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
