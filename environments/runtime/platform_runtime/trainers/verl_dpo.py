"""DPO on verl's engine: verl's whole `sft_trainer_engine` tree and a section `dpo` beside it. See entry.py.

The data are JSONL files of preference pairs (preferences.py). `data.*batch_size*` count pairs.
"""

import sys
from typing import Any

from platform_runtime.trainers import entry


def fit(config: Any, folder: str) -> None:
    # They read the environment that entry sets, and the platform that it installs.
    from verl.utils.distributed import (  # noqa: PLC0415
        destroy_global_process_group,
        initialize_global_process_group,
    )

    from platform_runtime.trainers.dpo_trainer import DPOTrainer  # noqa: PLC0415

    initialize_global_process_group()
    DPOTrainer(config=config).fit()
    destroy_global_process_group()


if __name__ == "__main__":
    sys.exit(entry.main("verl_dpo", fit, sys.argv[1:]))
