"""Where a new run begins that goes on from a checkpoint of an earlier one: which checkpoint, and whether it fits."""

from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from django.utils.translation import gettext as _

from datasets.models import DatasetVersion
from environments.models import Host
from pipelines.folders import run_path
from pipelines.models import Attempt, Job, RecipeRevision
from pipelines.recipe_selectors import spec_of
from pipelines.recipes.spec import RecipeSpec
from pipelines.recipes.trainers import trainer_of
from pipelines.recipes.validate import effective
from pipelines.selectors import job_for
from pipelines.states import STAGE_TERMINAL
from platform_site.common.errors import Invalid, NotFound
from platform_site.common.models import User

PARAM: Final = "from_checkpoint"


@dataclass(frozen=True)
class Origin:
    """A checkpoint of a run that has ended. `path` is its folder on `host`, the only place where it is."""

    job: Job
    step: int
    path: str
    host: Host


def origin(user: User, given: Any) -> Origin | None:
    """What `{job, step}` names; None for nothing. Raises Invalid, at the field `from_checkpoint`."""
    if given is None:
        return None
    job, step = _named(user, given)
    if job.stage.status not in STAGE_TERMINAL:
        raise _refused(_("That run has not ended yet: what it still writes cannot be begun from."))
    paths = {one["step"]: one["path"] for one in job.checkpoints}
    if step not in paths:
        known = ", ".join(str(one) for one in sorted(paths)) or _("none")
        raise _refused(
            _("That run has no checkpoint of step %(step)s. There are: %(known)s.") % {"step": step, "known": known}
        )
    for attempt in Attempt.objects.select_related("host").filter(stage=job.stage_id, host__isnull=False):
        if attempt.host is not None and paths[step].startswith(
            f"{run_path(attempt)}/checkpoints/attempt-{attempt.number}/"
        ):
            return Origin(job, step, paths[step], attempt.host)
    raise _refused(_("Nobody knows any more on which host that checkpoint is."))


def refuse_unfit(
    begun: Origin, revision: RecipeRevision, version: DatasetVersion | None, overrides: dict[str, Any], host: str | None
) -> None:
    """The new run must be able to go on from there. Raises Invalid."""
    if host and host != begun.host.name:
        raise _refused(
            _("The checkpoint is on host %(host)s, and can be used there alone.") % {"host": begun.host.name}
        )
    spec, before = spec_of(revision).merged(overrides), _spec(begun.job)
    for name in ("algorithm", "trainer", "base_model"):
        if getattr(spec, name) != getattr(before, name):
            raise _refused(
                _("That run had %(name)s %(before)s, and this one has %(now)s.")
                % {"name": name, "before": getattr(before, name), "now": getattr(spec, name)}
            )
    if version is not None and version != begun.job.dataset_version:
        raise _refused(
            _("A run that goes on from a checkpoint goes on in the same data: its dataset version must stay.")
        )
    trainer = trainer_of(spec.algorithm, spec.trainer)
    changed = [key for key in differing(spec, before) if key.startswith(trainer.fork_keeps)]
    if changed:
        raise _refused(
            _("These settings are part of the checkpoint and must stay as they were: %(keys)s.")
            % {"keys": ", ".join(changed[:10])}
        )
    if version is not None:
        target = trainer.steps(effective(spec), version.rows, 1).target
        if target <= begun.step:
            raise _refused(
                _(
                    "With these settings the run ends at step %(target)s, and it would begin at %(step)s: let it go on "
                    "longer."
                )
                % {"target": target, "step": begun.step}
            )


def first_settings(job: Job) -> dict[str, Any]:
    """What the trainer is told besides where a fork begins: where its optimizer is to be another, only the weights of
    the checkpoint are taken. Its state would bring back the rates of the run before."""
    if job.forked_from is None:
        return {}
    spec = _spec(job)
    trainer = trainer_of(spec.algorithm, spec.trainer)
    anew = any(key.startswith(trainer.fork_renews) for key in differing(spec, _spec(job.forked_from)))
    return dict(trainer.weights_alone) if anew and trainer.fork_renews else {}


def differing(left: RecipeSpec, right: RecipeSpec) -> list[str]:
    """The settings that count and are not the same, by name."""
    ours, theirs = effective(left), effective(right)
    return sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key))


def _spec(job: Job) -> RecipeSpec:
    return spec_of(job.recipe_revision).merged(job.overrides)


def _named(user: User, given: Any) -> tuple[Job, int]:
    if not isinstance(given, dict) or set(given) != {"job", "step"}:
        raise _refused(_("Give a run and a step of it: {job, step}."))
    step = given["step"]
    if isinstance(step, bool) or not isinstance(step, int):
        raise _refused(_("The step is a whole number."))
    try:
        return job_for(user, UUID(str(given["job"]))), step
    except (ValueError, NotFound) as error:
        raise _refused(_("There is no such run.")) from error


def _refused(why: str) -> Invalid:
    return Invalid(why, fields={PARAM: why})
