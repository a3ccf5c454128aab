"""Do the books fit together? Checked every few minutes; what does not is repaired where that is possible, and told.

The observer, the dispatcher and `advance` keep everything moving from what they see. This check assumes nothing of
them: it looks for what must never be, whoever may have caused it (a bug, a restored backup, a hand in the database).
"""

import logging
import time
from collections.abc import Callable, Iterable
from typing import Final

from django.db import transaction

from pipelines import notices
from pipelines.services import integrity_gpus as gpus
from pipelines.services import integrity_rows as rows
from pipelines.services import integrity_runs as runs
from pipelines.services.integrity_rows import Finding
from platform_site.common import audit
from platform_site.common.models import AuditEvent

logger = logging.getLogger(__name__)

MOST: Final = 10_000
"""Rows that one check looks at in one pass. What is left comes next time: repairs leave fewer."""
BUDGET_S: Final = 60.0
ACTOR: Final = "integrity"
REPAIRED: Final = "integrity.repair"
FOUND: Final = "integrity.found"

CHECKS: Final[tuple[Callable[[int], Iterable[Finding]], ...]] = (
    runs.orphans,
    runs.owed_ends,
    rows.open_attempts_of_ended_stages,
    rows.queued_without_attempt,
    runs.active_without_attempt,
    gpus.leases_of_ended_attempts,
    rows.active_without_host,
    rows.waiting_for_nothing,
    rows.not_before_out_of_reach,
    rows.ended_without_times,
    runs.unread_metrics,
    rows.without_final_metrics,
    rows.pipelines_that_should_have_ended,
    rows.pipelines_ended_without_time,
    runs.overdue,
)


def check(limit: int = MOST) -> list[str]:
    """What was found, one sentence each; also in the log and the audit, where one that stays stands once."""
    told: list[str] = []
    until = time.monotonic() + BUDGET_S
    for look in CHECKS:
        try:
            for finding in look(limit):
                told.append(_tell(finding))
                if time.monotonic() > until:
                    break
        except Exception:
            # One check that breaks must not keep the others from looking.
            logger.exception("The integrity check %s failed", look.__name__)
        if time.monotonic() > until:
            logger.warning("The integrity check ran out of time at %s; the rest comes next time", look.__name__)
            break
    return told


def _tell(finding: Finding) -> str:
    target = finding.target
    sentence = f"{target._meta.model_name} {target.pk}: {finding.said}"
    action = REPAIRED if finding.repaired else FOUND
    logger.warning("Integrity: %s", sentence)
    known = AuditEvent.objects.filter(
        action=action, object_type=target._meta.label_lower, object_id=str(target.pk), details__what=finding.what
    )
    if finding.repaired or not known.exists():
        with transaction.atomic():
            row = audit.record(action, ACTOR, target, what=finding.what, said=finding.said)
            notices.integrity(row, target, finding.said, repaired=finding.repaired)
    return sentence
