"""Try rules on past runs: what was asked for, and the work on it, which goes on wherever it was left.

A back-test is read run by run. Each run is kept when it was read, so that a worker that dies loses one; whoever works
holds a lease. Where that ran out the next second sends the work again, and maintenance sends whatever nobody holds.
"""

import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from itertools import islice
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.db.models import Q, QuerySet, Sum
from django.utils import timezone
from django.utils.translation import gettext as _

from monitoring import selectors
from monitoring.diagnostics.backtest import Ended, Line, Past, Spent, Verdict, scores, verdicts
from monitoring.diagnostics.core import Sample, Severity
from monitoring.diagnostics.engine import Limits
from monitoring.diagnostics.learning import merged
from monitoring.diagnostics.replay import Try, replay
from monitoring.diagnostics.rules import RULES, rules_for
from monitoring.models import Finding, Segment
from monitoring.services.diagnose import NOT_FROM_STEPS
from monitoring.thresholds import set_limits
from pipelines.models import Attempt, Backtest, BacktestRun, Job
from pipelines.services.learn import learnt_for
from pipelines.states import STAGE_TERMINAL, StageStatus
from platform_site.common import audit, clock, live
from platform_site.common.errors import Invalid
from platform_site.common.messages import send
from platform_site.common.models import Project, User
from platform_site.common.queues import MAINTENANCE
from platform_site.common.selectors import projects_for

logger = logging.getLogger(__name__)

REPLAYED: Final = tuple(name for name in RULES if name not in NOT_FROM_STEPS)
"""Rules that read steps. The log and the clock of a past run are not there to be read again."""
MOST_RUNS: Final = 500
LONGEST_NAME: Final = 100
CHUNK: Final = 2000
LEASE: Final = timedelta(seconds=60)
TOLD_S: Final = 1.0
SLICE_S: Final = 240.0
"""After so long the rest is sent on: others wait in the same queue."""
MOST_SENT: Final = 50
MOST_WHOLE: Final = 10_000
MOST_TOLD: Final = 10
"""Wrong limits that are told at once."""

GROUP: Final = "backtests"


@dataclass(frozen=True)
class Asked:
    """What to try on which runs. Without names: all rules, or all runs that have ended, the newest first."""

    rules: Sequence[str] = ()
    limits: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    learnt: bool = True
    least: str = "error"
    algorithm: str = ""
    recipe: str = ""
    jobs: Sequence[UUID] = ()
    most: int = 100
    name: str = ""


def create(asked: Asked, user: User | None, *, by_worker: bool = True) -> Backtest:
    """Keep it with its runs, and have a worker begin unless the caller does. Without a user it is the command line's,
    which sees all. Raises Invalid by field."""
    rules = _rules(asked.rules)
    limits = _limits(asked.limits)
    if asked.least not in {severity.word for severity in Severity}:
        raise Invalid(_("There is no severity “%(name)s”.") % {"name": asked.least[:50]}, {"least": _("unknown")})
    if not 1 <= asked.most <= MOST_RUNS:
        told = _("From 1 to %(most)s runs.") % {"most": MOST_RUNS}
        raise Invalid(told, {"most": told})
    projects = Project.objects.all() if user is None else projects_for(user)
    if len(asked.name.strip()) > LONGEST_NAME or not asked.name.isprintable():
        told = _("Give a name of at most %(most)s characters.") % {"most": LONGEST_NAME}
        raise Invalid(told, {"name": told})
    jobs = list(_chosen(asked, projects)[: asked.most])
    if not jobs:
        raise Invalid(_("No run that has ended and logged steps matches."), {"jobs": _("none matches")})
    with transaction.atomic():
        made = Backtest.objects.create(
            project_id=jobs[0].project_id,
            name=asked.name.strip(),
            rules=rules,
            limits=limits,
            learnt=asked.learnt,
            least=asked.least,
            created_by=user,
        )
        BacktestRun.objects.bulk_create(
            BacktestRun(backtest=made, job=job, order=order, name=job.name, algorithm=job.stream.algorithm)
            for order, job in enumerate(jobs)
        )
        if user is not None:
            audit.record("backtest.create", user, made, rules=rules, runs=len(jobs))
        if by_worker:
            transaction.on_commit(lambda: send_work(made.pk), robust=True)
        live.push_on_commit(GROUP, backtest=str(made.pk))
    return made


def _rules(names: Sequence[str]) -> list[str]:
    unknown = [name for name in names if name not in REPLAYED]
    if unknown:
        told = _("There is no rule “%(name)s” that reads steps. There are: %(known)s.")
        raise Invalid(told % {"name": unknown[0][:50], "known": ", ".join(REPLAYED)}, {"rules": _("unknown")})
    return [name for name in REPLAYED if not names or name in names]


def _limits(given: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    limits = [(rule, name, value) for rule, found in given.items() for name, value in found.items()]
    _raise_for_limits(filter(None, (_problem(*limit) for limit in limits)))
    kept: dict[str, dict[str, float]] = {}
    for rule, name, value in limits:
        kept.setdefault(rule, {})[name] = int(value) if _is_whole(rule, name) else float(value)
    return kept


def _problem(rule: str, name: str, value: Any) -> str:
    where = f"{rule}.{name}"[:100]
    if rule not in REPLAYED or name not in RULES[rule].limits:
        known = [f"{rule}.{limit}" for limit in RULES[rule].limits] if rule in REPLAYED else list(REPLAYED)
        return _("There is no limit “%(name)s”. There are: %(known)s.") % {"name": where, "known": ", ".join(known)}
    fine = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0
    if _is_whole(rule, name) and not (fine and value == int(value) and value <= MOST_WHOLE):
        return _("%(name)s: a whole number from 1 to %(most)s.") % {"name": where, "most": MOST_WHOLE}
    return "" if fine else _("%(name)s: a number above 0.") % {"name": where}


def _is_whole(rule: str, name: str) -> bool:
    return isinstance(RULES[rule].limits[name], int)


def _raise_for_limits(problems: Iterable[str]) -> None:
    if told := " ".join(islice(problems, MOST_TOLD)):
        raise Invalid(told, {"limits": told})


def _chosen(asked: Asked, projects: QuerySet[Project]) -> QuerySet[Job]:
    found = Job.objects.filter(
        project__in=projects, stage__status__in=STAGE_TERMINAL, stream__last_step__isnull=False
    ).select_related("stream")
    if asked.algorithm:
        found = found.filter(recipe_revision__recipe__algorithm=asked.algorithm)
    if asked.recipe:
        found = found.filter(recipe_revision__recipe__slug=asked.recipe)
    if asked.jobs:
        found = found.filter(pk__in=asked.jobs)
    return found.defer("config", "command", "checkpoints", "final_metrics").order_by("-created_at", "pk")


def parse_limits(lines: Iterable[str]) -> dict[str, dict[str, Any]]:
    """`rule.limit=value` of each line; empty ones are passed over. Raises Invalid for lines of another form."""
    found: dict[str, dict[str, Any]] = {}
    wrong = []
    for line in filter(None, (line.strip() for line in lines)):
        name, equals, value = (part.strip() for part in line.partition("="))
        rule, dot, limit = name.partition(".")
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if equals and dot and not math.isnan(number):
            found.setdefault(rule, {})[limit] = number
        else:
            wrong.append(line[:100])
    _raise_for_limits(_("“%(line)s” is not of the form rule.limit=number.") % {"line": line} for line in wrong)
    return found


def delete(backtest: Backtest, user: User) -> None:
    """Forget it, also one that is worked on: whoever does finds it gone."""
    with transaction.atomic():
        audit.record("backtest.delete", user, backtest)
        backtest.delete()
        live.push_on_commit(GROUP, backtest=str(backtest.pk))


def send_work(backtest_id: UUID) -> bool:
    """Whether it went."""
    return send("work_on_backtest", MAINTENANCE, str(backtest_id))


def send_unfinished() -> None:
    """Send those on that nobody works on."""
    free = Backtest.objects.filter(Q(lease_until=None) | _let_go(), completed_at=None)
    for backtest_id in free.values_list("pk", flat=True)[:MOST_SENT]:
        send_work(backtest_id)


def send_abandoned() -> None:
    """Send those on whose worker died: once each, since the lease that ran out is taken off them."""
    found = Backtest.objects.filter(_let_go(), completed_at=None)
    for backtest_id, until in found.values_list("pk", "lease_until")[:MOST_SENT]:
        if send_work(backtest_id):
            Backtest.objects.filter(pk=backtest_id, lease_until=until).update(lease_until=None)


def _let_go() -> Q:
    """A lease that ran out, or that a clock which was set back since would hold for long."""
    return Q(lease_until__lt=timezone.now()) | Q(lease_until__gt=clock.out_of_reach(LEASE))


def work(backtest_id: UUID, *, slice_s: float = SLICE_S, told: Callable[[int, int], object] | None = None) -> bool:
    """Read its runs, for about `slice_s` seconds; whether it is complete. Does nothing while somebody else works on it.

    `told` is called with the runs and steps read so far.
    """
    now = timezone.now()
    free = Backtest.objects.filter(Q(lease_until=None) | _let_go(), pk=backtest_id, completed_at=None)
    if not free.update(lease_until=now + LEASE):
        return Backtest.objects.filter(pk=backtest_id, completed_at__isnull=False).exists()
    Backtest.objects.filter(pk=backtest_id, started_at=None).update(started_at=now)
    backtest = Backtest.objects.get(pk=backtest_id)
    working = _Working(backtest, told)
    until = time.monotonic() + slice_s
    try:
        for run in backtest.runs.filter(found__isnull=True).order_by("order").iterator(chunk_size=50):
            working.read(run)
            if time.monotonic() > until:
                working.leave()
                return False
        working.complete()
    except Exception as error:
        if not Backtest.objects.filter(pk=backtest_id).exists():
            return True  # deleted meanwhile
        logger.exception("Back-test %s cannot be worked out", backtest_id)
        working.complete(_("It broke off: %(error)s") % {"error": f"{type(error).__name__}: {error}"[:500]})
    return True


class _Working:
    """The work on one back-test, and how it is told."""

    def __init__(self, backtest: Backtest, told: Callable[[int, int], object] | None) -> None:
        self.backtest = backtest
        self.told = told
        self.before = backtest.runs.aggregate(steps=Sum("steps"))["steps"] or 0
        self.runs = backtest.runs.exclude(found__isnull=True).count()
        self.told_at = 0.0

    def read(self, run: BacktestRun) -> None:
        job = _with_all(run.job_id) if run.job_id is not None else None
        if job is None:
            # Deleted since it was asked for.
            BacktestRun.objects.filter(pk=run.pk).update(found=[], ended="")
            return
        segments = selectors.segments(job.stream_id)
        rules = {name: rule for name, rule in rules_for(job.stream.algorithm).items() if name in self.backtest.rules}
        replayed = replay(
            (Try(segment.attempt, segment.resumed_from, _chunks(segments, segment)) for segment in segments),
            [segment.resumed_from for segment in segments if segment.resumed_from is not None],
            rules,
            self._limits(job),
            told=lambda steps: self._tell(self.before + steps),
        )
        with transaction.atomic():
            # Whoever judges the run meanwhile changes what was read, or is read here: `judging` locks the same row.
            self._locked()
            job.judged = Job.objects.filter(pk=job.pk).values_list("judged", flat=True).first() or ""
            past = past_of(job)
            found = verdicts(replayed, past, Severity.of(self.backtest.least))
            BacktestRun.objects.filter(pk=run.pk).update(
                found=[asdict(verdict) for verdict in found],
                ended=past.ended,
                steps=replayed.steps,
                seconds=past.seconds,
            )
        self.before += replayed.steps
        self.runs += 1
        self._tell(self.before)

    def _limits(self, job: Job) -> Limits:
        """As they would have been in force when the run began, with what was asked for on top."""
        limits: Limits = set_limits()
        if self.backtest.learnt:
            began = job.stage.started_at or job.created_at
            limits = merged(limits, learnt_for(job, before=began)[1])
        names = {*limits, *self.backtest.limits}
        return {name: {**limits.get(name, {}), **self.backtest.limits.get(name, {})} for name in names}

    def _tell(self, steps: int) -> None:
        now = time.monotonic()
        if now - self.told_at < TOLD_S:
            return
        self.told_at = now
        self._keep(steps=steps, lease_until=timezone.now() + LEASE)

    def _keep(self, **values: Any) -> None:
        if self.told is not None:
            self.told(self.runs, values.get("steps", self.before))
        with transaction.atomic():
            Backtest.objects.filter(pk=self.backtest.pk).update(**values)
            live.push_on_commit(GROUP, backtest=str(self.backtest.pk))

    def leave(self) -> None:
        self._keep(steps=self.before, lease_until=None)
        send_work(self.backtest.pk)

    def complete(self, error: str = "") -> None:
        with transaction.atomic():
            self._locked()
            self._keep(
                steps=self.before,
                lease_until=None,
                completed_at=timezone.now(),
                error_message=error,
                result=result_of(self.backtest),
            )

    def _locked(self) -> None:
        Backtest.objects.select_for_update().get(pk=self.backtest.pk)


def result_of(backtest: Backtest) -> dict[str, Any]:
    """The scores over the runs that were read."""
    lines = [
        Line(Ended(ended), [Verdict(**one) for one in found or []])
        for ended, found in backtest.runs.exclude(ended="").values_list("ended", "found").iterator()
    ]
    total, each = scores(lines, backtest.rules)
    return {"total": asdict(total), "rules": [asdict(one) for one in each]}


def _with_all(job_id: UUID) -> Job | None:
    found = Job.objects.filter(pk=job_id).select_related("stage", "stream", "recipe_revision")
    return found.prefetch_related("stage__attempts").first()


def _chunks(segments: Sequence[Segment], segment: Segment) -> Iterable[list[Sample]]:
    """All that an attempt logged, also what a later one did again."""
    rows = selectors.iterate_rows(segments, attempt=segment.attempt)
    while chunk := [Sample(row.step, row.time, row.values) for row in islice(rows, CHUNK)]:
        yield chunk


def past_of(job: Job) -> Past:
    """How a run ended and what it took."""
    return Past(ended(job), [spent for attempt in job.stage.attempts.all() if (spent := _spent(attempt)) is not None])


def ended(job: Job) -> Ended:
    """As it was judged, else as it ended."""
    if job.judged:
        return Ended.HEALTHY if job.judged == Job.Judged.GOOD else Ended.BAD
    if job.stage.status == StageStatus.FAILED:
        return Ended.FAILED
    if job.stage.status != StageStatus.COMPLETED:
        return Ended.CANCELLED
    answered = Finding.objects.filter(stream_id=job.stream_id, runs__isnull=False).exists()
    return Ended.DOUBTFUL if answered or job.stream.has_anomaly else Ended.HEALTHY


def _spent(attempt: Attempt) -> Spent | None:
    if attempt.started_at is None or attempt.completed_at is None:
        return None
    # The runner's own record has the clock of the host, which is that of the steps.
    began = (attempt.handle or {}).get("started_at")
    return Spent(
        attempt.number,
        (attempt.completed_at - attempt.started_at).total_seconds(),
        len(attempt.gpus),
        float(began) if isinstance(began, int | float) else attempt.started_at.timestamp(),
    )
