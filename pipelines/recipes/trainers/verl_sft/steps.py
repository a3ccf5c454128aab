"""verl's SFT trainer (verl/trainer/sft_trainer.py): how many steps a run has, and what people trip over."""

from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.recipes.spec import DatasetRef, Problem, gettext_noop
from pipelines.recipes.trainers.base import Steps

from . import ranges


def steps(settings: Mapping[str, Any], rows: int, processes: int) -> Steps:
    """The steps of a run over `rows` rows with `processes` trainer processes.

    Sampler and loader both drop the incomplete rest, as the trainer has them do.
    """
    shards = data_parallel(settings, processes)
    limit = settings["data.train_max_samples"]
    rows = min(rows, limit) if limit > 0 else rows
    batch = settings["data.train_batch_size"] // shards
    per_epoch = rows // shards // batch if batch else 0
    return Steps(per_epoch, settings["trainer.total_training_steps"] or per_epoch * settings["trainer.total_epochs"])


def data_parallel(settings: Mapping[str, Any], processes: int) -> int:
    """Into how many parts a batch is split: the processes, divided by those that share a sequence."""
    sequence: int = settings["engine.ulysses_sequence_parallel_size"]
    return max(1, processes // sequence)


def saves_checkpoint(settings: Mapping[str, Any]) -> bool:
    """The trainer always saves its last step; whether weights are in it stands in the recipe."""
    return bool({"model", "hf_model"} & set(settings["checkpoint.save_contents"]))


def problems(settings: Mapping[str, Any], dataset: DatasetRef | None, processes: int) -> Iterator[Problem]:
    """Errors that arise from several keys together."""
    yield from _batches(settings, processes)
    if dataset is not None:
        yield from enough_data(settings, dataset, steps(settings, dataset.rows, processes))


def warnings(settings: Mapping[str, Any]) -> Iterator[Problem]:
    """What runs, but probably not as meant."""
    if not saves_checkpoint(settings):
        yield Problem(
            "checkpoint.save_contents",
            gettext_noop("Neither model nor hf_model is saved: the run leaves no checkpoint and cannot be resumed."),
            suggestion="[model, optimizer, extra]",
        )
    elif settings["trainer.save_freq"] == -1:
        yield Problem(
            "trainer.save_freq",
            gettext_noop(
                "Only the last step is saved: a run that is interrupted, or stopped because something is wrong with "
                "it, leaves nothing to look at or to go on from."
            ),
            suggestion=_now_and_then(settings),
        )


def _now_and_then(settings: Mapping[str, Any]) -> str:
    """Some checkpoints a run."""
    if settings["trainer.total_training_steps"]:
        return str(max(1, settings["trainer.total_training_steps"] // 4))
    return ranges.EVERY_EPOCH if settings["trainer.total_epochs"] > 1 else "100"


def _batches(settings: Mapping[str, Any], processes: int) -> Iterator[Problem]:
    batch = settings["data.train_batch_size"]
    micro = settings["data.micro_batch_size_per_gpu"]
    sequence = settings["engine.ulysses_sequence_parallel_size"]
    if processes % sequence:
        yield Problem(
            "engine.ulysses_sequence_parallel_size",
            gettext_noop("%(gpus)d GPUs cannot be shared out in groups of %(size)d."),
            {"gpus": processes, "size": sequence},
        )
        return
    shards = data_parallel(settings, processes)
    # With dynamic batches verl cuts by tokens and ignores the micro batch size.
    unit = shards if settings["data.use_dynamic_bsz"] else micro * shards
    if batch % unit:
        template = (
            gettext_noop("%(batch)d is not divisible by the %(gpus)d GPUs that share a batch.")
            if settings["data.use_dynamic_bsz"]
            else gettext_noop(
                "%(batch)d is not divisible by data.micro_batch_size_per_gpu times GPUs (%(micro)d x %(gpus)d)."
            )
        )
        yield Problem(
            "data.train_batch_size",
            template,
            {"batch": batch, "gpus": shards, "micro": micro},
            suggestion=str(max(unit, round(batch / unit) * unit)),
        )


def enough_data(settings: Mapping[str, Any], dataset: DatasetRef, planned: Steps) -> Iterator[Problem]:
    """verl's trainers end with their data, whatever step they were to reach."""
    if planned.per_epoch == 0:
        yield Problem(
            "data.train_batch_size",
            gettext_noop("The dataset has %(rows)d rows, fewer than one batch of %(batch)d."),
            {"rows": dataset.rows, "batch": settings["data.train_batch_size"]},
        )
        return
    available = planned.per_epoch * settings["trainer.total_epochs"]
    if planned.target > available:
        yield Problem(
            "trainer.total_training_steps",
            gettext_noop(
                "%(epochs)d epochs of this dataset have %(available)d steps: the run would end before step "
                "%(target)d and leave no final checkpoint. Raise trainer.total_epochs."
            ),
            {"epochs": settings["trainer.total_epochs"], "available": available, "target": planned.target},
            suggestion=str(available),
        )
