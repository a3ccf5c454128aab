"""TRL's DPO trainer (trl/trainer/dpo_trainer.py), each GPU with a copy of the model."""

import math
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, ClassVar

from pipelines.recipes import places, resources
from pipelines.recipes.fields import Group
from pipelines.recipes.spec import DPO, TRL, DatasetRef, Json, Leaf, Place, Problem, RecipeSpec, Tree, gettext_noop
from pipelines.recipes.trainers.base import Rules, Steps, Trainer

from . import fields, keys


@cache
def _tree() -> Tree:
    raw: dict[str, Any] = {}
    leaves: dict[str, Leaf] = {}
    for key, (type_, default) in {**keys.LEAVES, **keys.OURS}.items():
        section, dot, name = key.partition(".")
        (raw.setdefault(section, {}) if dot else raw)[name if dot else key] = default
        leaves[key] = Leaf(key, type_, default, open="object" in type_, items=keys.ITEMS.get(key, ""))
    return resources.beside(Tree(raw=raw, leaves=leaves))


class TrlDpo(Trainer):
    algorithm: ClassVar[str] = DPO
    name: ClassVar[str] = TRL
    dataset_kind: ClassVar[str] = "preference"
    rules: ClassVar[Rules] = Rules(
        platform=keys.PLATFORM,
        admin=keys.ADMIN,
        harmless=keys.HARMLESS,
        words=keys.WORDS,
        at_least=keys.AT_LEAST,
        at_most=keys.AT_MOST,
        not_zero=keys.NOT_ZERO,
    )
    groups: ClassVar[tuple[Group, ...]] = fields.GROUPS
    cpu: ClassVar[Mapping[str, Json]] = keys.CPU
    fork_keeps: ClassVar[tuple[str, ...]] = keys.IN_CHECKPOINT

    def tree(self) -> Tree:
        return _tree()

    def steps(self, settings: Mapping[str, Any], rows: int, processes: int) -> Steps:
        """As transformers/trainer.py, set_initial_training_values, and accelerate's shards of a loader count them."""
        size, last = settings["per_device_train_batch_size"], settings["dataloader_drop_last"]
        batches = rows // size if last else math.ceil(rows / size)
        batches = batches // processes if last else math.ceil(batches / processes)
        per_epoch = math.ceil(batches / settings["gradient_accumulation_steps"])
        if settings["max_steps"] > 0:
            return Steps(per_epoch, settings["max_steps"])
        return Steps(per_epoch, math.ceil(settings["num_train_epochs"] * per_epoch))

    def saves_checkpoint(self, settings: Mapping[str, Any]) -> bool:
        """TRL always saves the last step, unless it saves none."""
        return bool(settings["save_strategy"] != "no")

    def problems(self, settings: Mapping[str, Any], dataset: DatasetRef | None, processes: int) -> Iterator[Problem]:
        yield from _loss(settings)
        yield from _reference(settings)
        if settings["bf16"] and settings["fp16"]:
            yield Problem("fp16", gettext_noop("Only one of bf16 and fp16 can be used."), suggestion="false")
        if settings["save_strategy"] == "steps" and not settings["save_steps"]:
            yield Problem("save_steps", gettext_noop("Cannot be 0: choose another save_strategy."), suggestion="500")
        if settings["save_steps"] > 1 and settings["save_steps"] != int(settings["save_steps"]):
            yield Problem(
                "save_steps",
                gettext_noop("Above 1 it counts steps, and is a whole number; below 1 it is a share of the run."),
                suggestion=str(int(settings["save_steps"])),
            )
        if settings["max_steps"] < 0 and not settings["num_train_epochs"]:
            yield Problem("num_train_epochs", gettext_noop("Cannot be 0 where max_steps is not given."), suggestion="1")
        if dataset is not None and not self.steps(settings, dataset.rows, processes).per_epoch:
            yield Problem(
                "per_device_train_batch_size",
                gettext_noop("The dataset has %(rows)d rows, fewer than one batch of %(batch)d."),
                {"rows": dataset.rows, "batch": settings["per_device_train_batch_size"] * processes},
            )

    def warnings(self, settings: Mapping[str, Any]) -> Iterator[Problem]:
        if not self.saves_checkpoint(settings):
            yield Problem(
                "save_strategy", gettext_noop("Nothing is saved: the run leaves no checkpoint and cannot be resumed.")
            )

    def owned(self, spec: RecipeSpec, dataset: DatasetRef, place: Place) -> dict[str, Json]:
        return {
            "model.path": spec.base_model,
            "data.train_files": dataset.path,
            "data.val_files": None,
            "output_dir": place.checkpoint_folder,
            "resume_from_checkpoint": place.resume_from,
            "logging_steps": 1,
            "logging_nan_inf_filter": False,
            "disable_tqdm": True,
            "report_to": "none",
            "use_cpu": not place.cuda,
        }

    def argv(self, place: Place, config_path: str) -> list[str]:
        return places.torchrun(place, "platform_runtime.trainers.trl_dpo", config_path)


def _loss(settings: Mapping[str, Any]) -> Iterator[Problem]:
    if settings["beta"] == 0:
        yield Problem("beta", gettext_noop("Must be above 0: nothing would be learned."), suggestion="0.1")
    losses, weights = settings["loss_type"], settings["loss_weights"]
    if not losses:
        yield Problem("loss_type", gettext_noop("Name at least one loss."), suggestion="[sigmoid]")
    if weights is not None and len(weights) != len(losses):
        yield Problem(
            "loss_weights",
            gettext_noop("There are %(weights)d weights for %(losses)d losses."),
            {"weights": len(weights), "losses": len(losses)},
        )
    if "exo_pair" in losses and not settings["label_smoothing"]:
        yield Problem("label_smoothing", gettext_noop("exo_pair needs some, such as 0.001."), suggestion="0.001")
    if "robust" in losses and settings["label_smoothing"] == 0.5:
        yield Problem(
            "label_smoothing", gettext_noop("Half of the pairs wrong leaves nothing to learn."), suggestion="0.1"
        )


def _reference(settings: Mapping[str, Any]) -> Iterator[Problem]:
    for key in ("model.use_peft", "precompute_ref_log_probs"):
        if settings["sync_ref_model"] and settings[key]:
            yield Problem("sync_ref_model", gettext_noop("Does not go with %(other)s."), {"other": key}, "false")
