"""verl's SFT trainer on the configuration of a run folder: verl's whole `sft_trainer_engine` tree. See entry.py."""

import os
import sys
from typing import Any

from platform_runtime.trainers import entry


def fit(config: Any, folder: str) -> None:
    from verl.trainer.sft_trainer import run_sft  # noqa: PLC0415 - reads the environment that entry sets

    config.data.train_files = local_data(config.data.train_files, folder)
    config.data.val_files = local_data(config.data.val_files, folder)
    run_sft(config)


def local_data(files: Any, folder: str) -> Any:
    """The data files of the configuration, a name or a list of them, with parquet in place of JSONL."""
    from platform_runtime.data import to_parquet  # noqa: PLC0415

    def one(path: str) -> str:
        return to_parquet(path, os.path.join(folder, "data")) if path.endswith(".jsonl") else path

    if files is None:
        return None
    return one(files) if isinstance(files, str) else [one(path) for path in files]


if __name__ == "__main__":
    sys.exit(entry.main("verl_sft", fit, sys.argv[1:]))
