"""What a stage asks of its host, kept on its row: dispatch reads nothing else."""

from typing import Final

from pipelines.models import Stage
from pipelines.recipes.resources import Resources

FIELDS: Final = ("gpus", "gpu_memory_gib", "labels")


def keep(stage: Stage, asked: Resources) -> None:
    """Set the columns; whoever calls saves them."""
    stage.gpus = asked.gpus
    stage.gpu_memory_gib = asked.gpu_memory_gib
    stage.labels = ",".join(asked.labels)


def of(stage: Stage) -> Resources:
    return Resources(stage.gpus, stage.gpu_memory_gib, tuple(stage.labels.split(",")) if stage.labels else ())
