"""Free the disk from checkpoints that nobody needs: the newest and the best of a training stay."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar, Final
from uuid import UUID

from django.db.models import Q
from django.template.defaultfilters import filesizeformat
from django.utils.translation import gettext as _

from environments.models import Host
from environments.transports import for_host
from monitoring import selectors as monitoring
from pipelines.models import Attempt, Job, Stage
from pipelines.retention import Checkpoint, staying
from pipelines.states import STAGE_TERMINAL
from pipelines.templating import references
from platform_runtime.pruning import Found
from platform_site.common.errors import Invalid
from platform_site.common.models import User
from platform_site.common.queues import MAINTENANCE

from .base import InlineKind, Verdict
from .checkpoints import TRAINING_KIND, Held, checkpoints_of

PARAMS: Final = frozenset({"of", "keep_last", "keep_best", "metric", "mode", "dry_run"})
MODES: Final = ("min", "max")


class CleanupCheckpoints(InlineKind):
    """`{of?, keep_last, keep_best?, metric?, mode?, dry_run?}` → `{kept, removed, broken, bytes_freed, dry_run}`.

    `of` names a training stage of the same pipeline (its name or uuid); without it, all trainings above. Only what
    attempts that have ended left whole is looked at for removal: what a training still writes is none of our
    business, and what cannot be loaded is told and left. Done again it finds nothing more to do.
    """

    name: ClassVar[str] = "cleanup_checkpoints"
    queue: ClassVar[str] = MAINTENANCE

    def problems(self, params: dict[str, Any], user: User) -> dict[str, str]:
        return _problems(params)

    def misplaced(self, params: dict[str, Any], above: Mapping[str, str]) -> dict[str, str]:
        trainings = sorted(name for name, task in above.items() if task == TRAINING_KIND)
        if not trainings:
            return {"of": _("No training stands above this stage: there is nothing to clean up after.")}
        of = params.get("of")
        if isinstance(of, str) and of not in trainings and not references({"of": of}) and not _uuid(of):
            return {"of": _("No training above has this name. There are: %(known)s.") % {"known": ", ".join(trainings)}}
        return {}

    def run(self, stage: Stage, params: dict[str, Any]) -> Verdict:
        # Once more: what was a reference is a value now.
        wrong = _problems(params)
        if wrong:
            name, why = next(iter(wrong.items()))
            raise Invalid(f"{name}: {why}", wrong)
        dry_run = bool(params.get("dry_run", False))
        kept: list[dict[str, Any]] = []
        removed: list[dict[str, Any]] = []
        broken: list[dict[str, Any]] = []
        for training in _trainings(stage, params.get("of")):
            held = checkpoints_of(training)
            stays = _staying(training, held, params)
            going = [one for one in held if _key(one.found) not in stays]
            gone = {_key(one.found) for one in going} if dry_run else _remove(going)
            for one in held:
                told = _told(training, one)
                if not one.found.ok:
                    broken.append({**told, "why": one.found.why})
                elif _key(one.found) in gone:
                    removed.append(told)
                else:
                    kept.append(told)
        return Verdict(
            True,
            result={
                "kept": kept,
                "removed": removed,
                "broken": broken,
                "bytes_freed": sum(one["size"] for one in removed),
                "dry_run": dry_run,
            },
        )

    def summary(self, result: dict[str, Any]) -> str:
        removed = result.get("removed")
        if not isinstance(removed, list) or not removed:
            return _("nothing to remove")
        told = _("%(n)s would go · %(size)s") if result.get("dry_run") else _("%(n)s removed · %(size)s")
        return told % {"n": len(removed), "size": filesizeformat(result.get("bytes_freed", 0))}

    def settle(self, stage: Stage, attempt: Attempt, verdict: Verdict) -> None:
        """Runs no longer list what is gone."""
        if verdict.result.get("dry_run"):
            return
        gone = {one["path"] for one in verdict.result.get("removed", ())}
        for job in Job.objects.select_for_update().filter(stage__pipeline=stage.pipeline_id) if gone else ():
            left = [one for one in job.checkpoints if one["path"] not in gone]
            if left != job.checkpoints:
                Job.objects.filter(pk=job.pk).update(checkpoints=left)


def _problems(params: dict[str, Any]) -> dict[str, str]:
    found = {
        name: _("cleanup_checkpoints takes %(known)s.") % {"known": ", ".join(sorted(PARAMS))}
        for name in params
        if name not in PARAMS
    }
    later = {reference.where for reference in references(params)}
    keep_best, metric = params.get("keep_best", 0), params.get("metric")
    if "keep_last" not in later and not _whole(params.get("keep_last"), least=1):
        found["keep_last"] = _("A whole number of at least 1: the newest checkpoint always stays.")
    if "keep_best" not in later and not _whole(keep_best, least=0):
        found["keep_best"] = _("A whole number of at least 0.")
    elif keep_best and not metric:
        found["metric"] = _("Best by which metric? Name it as the run logs it.")
    if metric is not None and (not isinstance(metric, str) or not metric):
        found["metric"] = _("The name of a metric as the run logs it.")
    if "mode" not in later and params.get("mode", "min") not in MODES:
        found["mode"] = _("min or max: whether the smallest or the largest value is the best.")
    if "dry_run" not in later and not isinstance(params.get("dry_run", False), bool):
        found["dry_run"] = _("true or false.")
    if "of" in params and not (isinstance(params["of"], str) and params["of"]):
        found["of"] = _("The name of a training stage.")
    return found


def _whole(value: object, *, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _trainings(stage: Stage, of: str | None) -> list[Stage]:
    """Raises Invalid where `of` is no training of this pipeline."""
    trainings = Stage.objects.filter(pipeline=stage.pipeline_id, kind=TRAINING_KIND).order_by("order")
    if of is None:
        above = _above(stage)
        return [training for training in trainings if training.pk in above]
    named = Q(pk=_uuid(of)) if _uuid(of) else Q(name=of)
    found = list(trainings.filter(named))
    if not found:
        raise Invalid(_("This pipeline has no training stage %(name)s.") % {"name": of}, fields={"of": _("unknown")})
    return found


def _above(stage: Stage) -> set[UUID]:
    """Every stage that this one needs, directly or not."""
    needs: dict[UUID, list[UUID]] = {}
    for lower, upper in Stage.depends_on.through.objects.filter(from_stage__pipeline=stage.pipeline_id).values_list(
        "from_stage_id", "to_stage_id"
    ):
        needs.setdefault(lower, []).append(upper)
    found: set[UUID] = set()
    waiting = list(needs.get(stage.pk, ()))
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            waiting += needs.get(one, ())
    return found


def _staying(training: Stage, held: Sequence[Held], params: dict[str, Any]) -> set[tuple[int, int]]:
    keep_best = params.get("keep_best", 0)
    found = [one.found for one in held]
    values = _values(training, found, params["metric"]) if keep_best and found else {}
    if keep_best and found and not values:
        # A misspelt name must not cost the best checkpoints.
        raise Invalid(
            _("Stage %(stage)s logged no metric %(metric)s. There are: %(known)s.")
            % {
                "stage": training.name,
                "metric": params["metric"],
                "known": ", ".join(monitoring.metric_names(training.pk)[:50]),
            },
            fields={"metric": _("unknown")},
        )
    # What an attempt that still runs went on from, it may have to read again.
    begun_at = Attempt.objects.filter(stage=training, outcome="").values_list("resumed_from_step", flat=True)
    # What other runs are to begin from, until they have ended: a retry may begin there again.
    forks = Job.objects.filter(forked_from=training.pk).exclude(stage__status__in=STAGE_TERMINAL)
    needed = {*begun_at, *forks.values_list("forked_step", flat=True)} - {None}
    stays = staying(
        [Checkpoint(one.attempt, one.step, one.ok, values.get(_key(one))) for one in found],
        keep_last=params["keep_last"],
        keep_best=keep_best,
        mode=params.get("mode", "min"),
        needed=[step for step in needed if step is not None],
    )
    return {(one.attempt, one.step) for one in stays}


def _values(training: Stage, found: Sequence[Found], metric: str) -> dict[tuple[int, int], float]:
    """The metric at each checkpoint: the last value its attempt logged since the checkpoint before."""
    segments = monitoring.segments(training.pk)
    values: dict[tuple[int, int], float] = {}
    for attempt in {one.attempt for one in found}:
        steps = sorted(one.step for one in found if one.attempt == attempt)
        for before, step in pairwise([-1, *steps]):
            line = monitoring.series(
                segments, [metric], start_step=before + 1, end_step=step, points=1, attempt=attempt
            ).points[metric]
            if line and isinstance(line[-1][1], int | float):
                values[attempt, step] = float(line[-1][1])
    return values


def _remove(going: Sequence[Held]) -> set[tuple[int, int]]:
    by_place: dict[tuple[Host, str], list[tuple[int, int]]] = {}
    for one in going:
        by_place.setdefault((one.host, one.run), []).append(_key(one.found))
    return {
        (one.attempt, one.step)
        for (host, run), chosen in by_place.items()
        for one in for_host(host).remove_checkpoints(run, chosen)
    }


def _key(found: Found) -> tuple[int, int]:
    return (found.attempt, found.step)


def _told(training: Stage, one: Held) -> dict[str, Any]:
    return {
        "stage": training.name,
        "attempt": one.found.attempt,
        "step": one.found.step,
        "size": one.found.size,
        "path": one.path,
    }
