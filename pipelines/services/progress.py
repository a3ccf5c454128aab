"""How far a stage without metrics is, as its own program says."""

import math
from datetime import UTC, datetime
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from pipelines.models import Attempt
from pipelines.transitions import touch_pipeline
from platform_runtime.contract import StatusFile
from platform_runtime.message import ContractError
from platform_site.common import live


def keep_progress(attempt: Attempt, probe: dict[str, Any]) -> bool:
    """Take over what the status file in `probe` says; True when that is news. Times move to the platform's clock.

    Of two observers the one that has the later word wins. Nothing said, or nothing sensible: what is known stays.
    """
    try:
        told = StatusFile.from_json(probe.get("status") or {})
    except ContractError:
        return False
    done, total, unit = _count(told.step), _count(told.target_step), told.unit[:32]
    if done is None or (done, total, unit) == (attempt.progress_done, attempt.progress_total, attempt.progress_unit):
        return False
    now = timezone.now()
    skew = now.timestamp() - float(probe.get("now") or now.timestamp())
    try:
        at = min(now, datetime.fromtimestamp(told.updated_at + skew, tz=UTC))
    except (ValueError, OverflowError, OSError):
        at = now
    with transaction.atomic():
        older = Attempt.objects.filter(Q(progress_at=None) | Q(progress_at__lt=at), pk=attempt.pk, outcome="")
        if not older.update(
            progress_done=done, progress_total=total, progress_unit=unit, progress_at=at, progress_pace_s=_pace(told)
        ):
            return False
        touch_pipeline(attempt.stage.pipeline_id)
        live.push_on_commit(f"stage.{attempt.stage_id}", stage=str(attempt.stage_id))
    return True


def _pace(told: StatusFile) -> float | None:
    """Seconds a unit takes, if that can be."""
    return told.pace_s if told.pace_s is not None and math.isfinite(told.pace_s) and told.pace_s >= 0 else None


def _count(value: int | None) -> int | None:
    """A number that fits the column; anything else is unknown."""
    return value if value is not None and 0 <= value < 2**63 else None
