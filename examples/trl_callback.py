"""Hear every step of a TRL trainer, outside the platform: `python examples/trl_callback.py MODEL ROWS.jsonl`.

ROWS.jsonl has conversations: {"messages": [{"role": …, "content": …}, …]}. Run it with
PYTHONPATH=environments/runtime in an environment that has TRL. Metrics and status are files in `./metrics`.
"""

import sys

import datasets
from trl import SFTConfig, SFTTrainer

from platform_runtime.callback import PlatformCallback
from platform_runtime.models import local_model
from platform_runtime.trl_hook import PlatformHook


def main(model: str, rows: str) -> None:
    trainer = SFTTrainer(
        model=local_model(model, "out"),
        args=SFTConfig(
            output_dir="out",
            max_steps=4,
            per_device_train_batch_size=4,
            logging_steps=1,  # each step is told
            save_strategy="no",
            report_to="none",
            use_cpu=True,
            bf16=False,
        ),
        train_dataset=datasets.load_dataset("json", data_files=rows, split="train"),
        callbacks=[PlatformHook(callback := PlatformCallback("my-run", "metrics"))],
    )
    with callback:  # the end is told whatever happens
        trainer.train()


if __name__ == "__main__":
    main(*sys.argv[1:3])
