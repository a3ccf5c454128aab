"""TRL's DPO trainer, as it is, given the platform's data and hook. Import trl_dpo.py's way only."""

import importlib
import json
from typing import Any

from transformers import AutoTokenizer
from trl import DPOConfig, DPOTrainer, ModelConfig, get_peft_config

from platform_runtime import models, preferences
from platform_runtime.callback import PlatformCallback
from platform_runtime.data import BadDataError
from platform_runtime.trl_hook import PlatformHook


def fit(config: Any, folder: str, callback: PlatformCallback | None) -> None:
    """`folder` is the run's own. Raises BadDataError for data that cannot be used, and whatever TRL raises."""
    data, model = config.pop("data"), config.pop("model")
    source = models.local_model(model.pop("path"), folder)
    about = ModelConfig(**model)
    # As trl/scripts/dpo.py does it.
    args = DPOConfig(
        **config, model_init_kwargs={"dtype": about.dtype, "attn_implementation": about.attn_implementation}
    )
    rows = preferences.read(data["train_files"])
    trainer = DPOTrainer(
        model=source,
        args=args,
        train_dataset=_dataset(rows),
        eval_dataset=_dataset(preferences.read(data["val_files"])) if data["val_files"] else None,
        processing_class=AutoTokenizer.from_pretrained(source, trust_remote_code=args.trust_remote_code),
        peft_config=get_peft_config(about),
        callbacks=[PlatformHook(callback)],
    )
    if dropped := len(rows) - len(trainer.train_dataset):
        # It would end before the step that was planned.
        raise BadDataError(
            f"in {dropped} of {len(rows)} pairs the prompt alone fills max_length ({args.max_length} tokens), and TRL "
            f"drops them: raise it, or take these rows out"
        )
    trainer.train(resume_from_checkpoint=args.resume_from_checkpoint)


def _dataset(rows: list[dict[str, Any]]) -> Any:
    """Hugging Face's. By name, since the platform has a package of that name, which is never on the path here."""
    kept = [{name: row[name] for name in preferences.COLUMNS} | _tools(row) for row in rows]
    return importlib.import_module("datasets").Dataset.from_list(kept)


def _tools(row: dict[str, Any]) -> dict[str, str]:
    """As JSON, which TRL reads too: they differ from row to row, and a column has one type."""
    tools = row.get("tools")
    return {} if tools is None else {"tools": tools if isinstance(tools, str) else json.dumps(tools)}
