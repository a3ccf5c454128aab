"""TRL's DPO trainer on the configuration of a run folder.

`python -P -m platform_runtime.trainers.trl_dpo --config config.yaml`, in the training environment. The file holds keys
of TRL's `DPOConfig`, and two sections: `model` with `path` and keys of TRL's `ModelConfig`, `data` with `train_files`
and `val_files`, JSONL of preference pairs (preferences.py).
"""

import os
import sys

from platform_runtime.trainers import entry


def train(path: str) -> None:
    entry.prepare_environment(())
    # After the environment is set: torch reads it while it is being imported.
    from omegaconf import OmegaConf  # noqa: PLC0415

    from platform_runtime.callback import PlatformCallback  # noqa: PLC0415
    from platform_runtime.trainers.trl_trainer import fit  # noqa: PLC0415

    config = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    first = os.environ.get("RANK", "0") == "0"
    callback = PlatformCallback.from_environment() if first else None
    try:
        fit(config, os.path.dirname(os.path.abspath(path)), callback)
    except BaseException:
        if callback is not None:
            callback.end(failed=True)
        raise
    if callback is not None:
        callback.end()


if __name__ == "__main__":
    train(entry.config_path("trl_dpo", sys.argv[1:]))
