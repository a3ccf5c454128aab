"""Where a stage's files stand on its host."""

from platform_runtime.contract import RunFolder

from .models import Attempt


def attempt_path(root: str, stage_id: object, number: int) -> str:
    return f"{root}/runs/{stage_id}/attempt-{number}"


def run_folder(attempt: Attempt) -> RunFolder:
    return RunFolder(attempt.folder, str(attempt.stage_id))
