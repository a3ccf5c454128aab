"""Pipelines to start from. What stands here can be posted as it is; the editor opens with it to be changed."""

from dataclasses import dataclass
from typing import Final

from .recipes.spec import gettext_noop
from .services.create import StageSpec


@dataclass(frozen=True)
class PipelineTemplate:
    """`name` and `description` are untranslated."""

    slug: str
    name: str
    description: str
    stages: tuple[StageSpec, ...]


def _sft(recipe: str, base_model: str) -> tuple[StageSpec, ...]:
    """Data made ready and the base model asked, at the same time; then trained, asked again, and cleaned up after."""
    asked = {"suite": "arithmetic-eval", "extract": "last_number"}
    return (
        # A built-in dataset takes no versions: what is made ready has a name of its own.
        StageSpec("preprocess", "preprocess_dataset", {"dataset": "arithmetic", "output": "arithmetic-ready"}),
        StageSpec("baseline", "run_evaluation", {**asked, "model": base_model}),
        StageSpec(
            "train",
            "train_model",
            {"recipe": recipe, "dataset": "{{ stages.preprocess.result.dataset_version }}"},
            ("preprocess", "baseline"),
        ),
        StageSpec("evaluate", "run_evaluation", {**asked, "of": "train"}, ("train",)),
        StageSpec("clean-up", "cleanup_checkpoints", {"of": "train", "keep_last": 1}, ("evaluate",)),
    )


def _learned(recipe: str, dataset: str) -> tuple[StageSpec, ...]:
    """Data made ready, a model trained on it, asked, and cleaned up after."""
    return (
        StageSpec("preprocess", "preprocess_dataset", {"dataset": dataset, "output": f"{dataset}-ready"}),
        StageSpec(
            "train",
            "train_model",
            {"recipe": recipe, "dataset": "{{ stages.preprocess.result.dataset_version }}"},
            ("preprocess",),
        ),
        StageSpec(
            "evaluate",
            "run_evaluation",
            {"suite": "arithmetic-eval", "extract": "last_number", "of": "train"},
            ("train",),
        ),
        StageSpec("clean-up", "cleanup_checkpoints", {"of": "train", "keep_last": 1}, ("evaluate",)),
    )


TINY_SFT: Final = PipelineTemplate(
    slug="tiny-sft-pipeline",
    name=gettext_noop("Tiny SFT, from data to score"),
    description=gettext_noop(
        "Makes data ready, trains a Llama of a few million parameters, asks it sums before and after, and keeps its "
        "last checkpoint. A minute or two on two cores; so small a model learns the form of an answer, hardly to add."
    ),
    stages=_sft("tiny-sft", "builtin:tiny-llama"),
)

SMOLLM2_SFT: Final = PipelineTemplate(
    slug="smollm2-sft-pipeline",
    name=gettext_noop("SmolLM2 SFT, from data to score"),
    description=gettext_noop(
        "The same with SmolLM2, a model of 135 million parameters that speaks already: its score rises. Some ten "
        "minutes on two cores, and 5 GB of memory."
    ),
    stages=_sft("smollm2-sft", "builtin:smollm2-135m"),
)

TINY_DPO: Final = PipelineTemplate(
    slug="tiny-dpo-pipeline",
    name=gettext_noop("Tiny DPO, from pairs to score"),
    description=gettext_noop(
        "Makes pairs ready, teaches a Llama of a few million parameters to prefer sums worked out to sums guessed, "
        "asks it sums, and keeps its last checkpoint. A minute or two on two cores; so small a model hardly learns to "
        "add."
    ),
    stages=_learned("tiny-dpo", "arithmetic-pairs"),
)

TEMPLATES: Final = (TINY_SFT, SMOLLM2_SFT, TINY_DPO)


def template(slug: str) -> PipelineTemplate | None:
    return next((found for found in TEMPLATES if found.slug == slug), None)
