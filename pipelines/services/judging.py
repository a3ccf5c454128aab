"""Say how a run went, where its end does not: what back-tests are measured against, and what thresholds learn from."""

from dataclasses import asdict
from typing import Final

from django.db import transaction
from django.utils.translation import gettext as _

from monitoring.diagnostics.backtest import Verdict, judged
from pipelines.models import Backtest, Job
from pipelines.services.backtests import GROUP, ended, result_of
from pipelines.states import STAGE_TERMINAL
from platform_site.common import audit, live
from platform_site.common.errors import Conflict, Invalid
from platform_site.common.models import User

MOST_BACKTESTS: Final = 100
"""The newest that are counted anew; older ones keep what they said."""


def judge(job: Job, word: str, user: User) -> None:
    """Call a run that has ended "good" or "bad", or with "" take that back: it then counts by how it ended.

    Back-tests that have read it are counted anew at once, without reading it again. Raises Invalid for another word,
    Conflict while the run goes on or where it logged nothing.
    """
    if word not in ("", *Job.Judged.values):
        told = _("A run is called good or bad, or neither: %(known)s.") % {"known": '"good", "bad", ""'}
        raise Invalid(told, {"judged": told})
    if word and (job.stage.status not in STAGE_TERMINAL or job.stream.last_step is None):
        raise Conflict(_("A run can be judged once it has ended, if it logged any step."))
    with transaction.atomic():
        if not Job.objects.filter(pk=job.pk).exclude(judged=word).update(judged=word):
            return
        job.judged = word
        audit.record("job.judge", user, job, judged=word)
        _count_anew(job)


def _count_anew(job: Job) -> None:
    now = ended(job)
    found = Backtest.objects.filter(runs__job=job).order_by("-created_at", "pk")
    newest = list(found.values_list("pk", flat=True)[:MOST_BACKTESTS])
    # One order for all who lock several.
    for backtest in Backtest.objects.filter(pk__in=newest).order_by("pk").select_for_update():
        for run in backtest.runs.filter(job=job, found__isnull=False):
            run.found = [asdict(one) for one in judged((Verdict(**one) for one in run.found or []), now)]
            run.ended = now
            run.save(update_fields=["found", "ended"])
        if backtest.completed_at is not None:
            backtest.result = result_of(backtest)
            backtest.save(update_fields=["result"])
        live.push_on_commit(GROUP, backtest=str(backtest.pk))
