"""What the doctor's findings mean for a run, as its recipe says."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.utils.translation import gettext as _

from monitoring import finding_selectors as findings
from monitoring.diagnostics.rules.stall import RULE as STALL
from monitoring.models import Finding
from monitoring.told import ToldAdvice, message, told
from pipelines.kinds import is_inline, runner_kind
from pipelines.models import Attempt, Job, Recipe
from pipelines.recipes.spec import Json
from platform_site.common.errors import NotFound


@dataclass(frozen=True)
class Sentence:
    """The attempt has failed, whatever else comes of it. `stop`: it is to be ended now; `again`: and tried
    again where a try is left."""

    reason: str
    stop: bool
    again: bool = False


def sentence(attempt: Attempt) -> Sentence | None:
    """What a critical finding of this attempt, or one that it stands still, asks for; None where people are only to be
    told."""
    return sentences([attempt]).get(attempt.pk)


def sentences(attempts: Collection[Attempt]) -> dict[UUID, Sentence]:
    """The same of many, by the ids of those that have one."""
    watched = [one for one in attempts if not is_inline(one.stage.kind) and runner_kind(one.stage.kind).has_stream]
    serious = findings.serious({one.stage_id: one.number for one in watched})
    found = {one.pk: _sentence(one, serious[one.stage_id]) for one in watched if one.stage_id in serious}
    return {pk: one for pk, one in found.items() if one is not None}


def _sentence(attempt: Attempt, found: Iterable[Finding]) -> Sentence | None:
    recipe = Recipe.objects.filter(revisions__jobs__id=attempt.stage_id).only("on_critical", "on_stall").first()
    if recipe is None:
        return None
    for finding in found:
        told_of = {"rule": finding.rule, "message": message(finding)}
        if finding.rule == STALL.name:
            if recipe.on_stall != Recipe.OnStall.NOTIFY:
                reason = _("Stopped by %(rule)s: %(message)s") % told_of
                return Sentence(reason, stop=True, again=recipe.on_stall == Recipe.OnStall.RESUME)
        elif recipe.on_critical == Recipe.OnCritical.STOP:
            return Sentence(_("Stopped by %(rule)s: %(message)s") % told_of, stop=True)
        elif recipe.on_critical == Recipe.OnCritical.MARK:
            return Sentence(_("%(rule)s: %(message)s") % told_of, stop=False)
    return None


def finding_of(job: Job, finding_id: str) -> Finding:
    """A finding of this run. Raises NotFound."""
    found = Finding.objects.filter(stream_id=job.stream_id, pk=int(finding_id)) if finding_id.isdecimal() else None
    finding = found.first() if found is not None else None
    if finding is None:
        raise NotFound(_("There is no such finding."))
    return finding


def suggested(job: Job, finding: Finding) -> dict[str, Json]:
    """The run's overrides with the first change on top that the finding's advice has and that makes a difference."""
    for advice in told(finding, job.stream).advice:
        if advice.changes and (value := _changed(job, advice)) is not None:
            return {**job.overrides, advice.parameter: value}
    return dict(job.overrides)


def _changed(job: Job, advice: ToldAdvice) -> Json:
    """What the parameter would be; None where it is that already, or nobody knows what it is."""
    current = _current(job, advice.parameter)
    if advice.to is not None:
        return advice.to if current != advice.to else None
    if advice.times is None or isinstance(current, bool) or not isinstance(current, int | float) or not current:
        return None
    value = current * advice.times
    own = job.recipe_revision.params.get(advice.parameter)
    if isinstance(own, int | float) and not isinstance(own, bool):
        # What this run alone was given is the first suspect: back to the recipe's own at least.
        value = min(value, own) if advice.times < 1 else max(value, own)
    return max(1, round(value)) if isinstance(current, int) else float(f"{value:.4g}")


def _current(job: Job, key: str) -> Any:
    """Of the run as it was asked for, else as it was compiled."""
    for params in (job.overrides, job.recipe_revision.params):
        if key in params:
            return params[key]
    value: Any = job.config
    for name in key.split("."):
        if not isinstance(value, Mapping) or name not in value:
            return None
        value = value[name]
    return value
