"""Where a stage's files stand on its host."""

from platform_runtime import rollouts
from platform_runtime.contract import RunFolder

from .models import Attempt


def attempt_path(root: str, stage_id: object, number: int) -> str:
    return f"{root}/runs/{stage_id}/attempt-{number}"


def models_folder(root: str) -> str:
    """The built-in models that are made once a host."""
    return f"{root}/models"


def run_path(attempt: Attempt) -> str:
    """The folder of the stage on the attempt's host: above its attempts and their checkpoints."""
    return attempt.folder.rpartition("/")[0]


def rollouts_folder(attempt: Attempt) -> str:
    return f"{attempt.folder}/{rollouts.FOLDER}"


def run_folder(attempt: Attempt) -> RunFolder:
    return RunFolder(attempt.folder, str(attempt.stage_id))
