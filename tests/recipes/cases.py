"""Recipes, data and places to compile with."""

from collections.abc import Mapping
from typing import Any

from pipelines.recipes import builtin
from pipelines.recipes.spec import DatasetRef, Json, Place, RecipeSpec
from pipelines.recipes.trainers import trainer_of

UUID = "0b0e7a51-8f6e-4d39-9f6f-0f4f3a2b1c0d"
RUN = f"/data/runs/{UUID}"


def recipe(params: Mapping[str, Json] | None = None, **fields: Any) -> RecipeSpec:
    """tiny-sft with `params` on top."""
    tiny = builtin.TINY_SFT.spec
    values = {"slug": tiny.slug, "algorithm": tiny.algorithm, "trainer": tiny.trainer, "base_model": tiny.base_model}
    return RecipeSpec(**{**values, **fields}, params=tiny.params).merged(params)


def dataset(rows: int = builtin.ROWS, **fields: Any) -> DatasetRef:
    path = "/data/datasets/ab/abc.jsonl"
    return DatasetRef(**{"path": path, "rows": rows, "kind": "sft", "sha256": "ab" * 32, **fields})


def dataset_of(wanted: builtin.BuiltinRecipe) -> DatasetRef:
    """The kind of data that a built-in recipe learns from."""
    rows = builtin.ROWS if wanted in builtin.ON_CPU else 10_000
    return dataset(rows, kind=trainer_of(wanted.algorithm, wanted.trainer).dataset_kind)


def place_of(wanted: builtin.BuiltinRecipe) -> Place:
    """Where a built-in recipe is meant to run."""
    if wanted in builtin.ON_CPU:
        return place()
    eight = "7b" in wanted.slug and "lora" not in wanted.slug
    return place(cuda=True, gpus=8 if eight else 2 if wanted.slug == "qwen-7b-lora-grpo" else 1)


def place(**fields: Any) -> Place:
    standard: dict[str, Any] = {
        "python": "/checkout/.training/venv/bin/python",
        "runtime_path": "/data/runtime/abc",
        "models_folder": "/data/models",
        "attempt_folder": f"{RUN}/attempt-1",
        "checkpoint_folder": f"{RUN}/checkpoints/attempt-1",
        "uuid": UUID,
    }
    return Place(**{**standard, **fields})
