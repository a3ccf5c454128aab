"""What is told of pipelines, of their stages, and of the integrity check."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from django.db.models import Model
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from notifications.kinds import Kind, Told
from notifications.services.events import Happened, note, note_all
from pipelines.models import Pipeline, Stage, Transition
from pipelines.states import PipelineStatus, StageStatus
from platform_site.common.models import AuditEvent
from platform_site.common.roles import Role
from platform_site.common.severity import Severity

TRAINING: Final = "train_model"
LONGEST: Final = 2000


def _tell_done(about: str, args: Mapping[str, Any]) -> Told:
    if args["status"] == PipelineStatus.COMPLETED:
        return Told(_("%(pipeline)s completed") % {"pipeline": about}, "")
    return Told(_("%(pipeline)s failed") % {"pipeline": about}, str(args.get("error", "")))


def _tell_failed(about: str, args: Mapping[str, Any]) -> Told:
    title = _("Stage %(stage)s of %(pipeline)s failed") % {"stage": args["stage"], "pipeline": about}
    return Told(title, str(args.get("reason", "")))


def _tell_integrity(about: str, args: Mapping[str, Any]) -> Told:
    if args["repaired"]:
        return Told(_("The integrity check repaired something"), f"{about}: {args['said']}")
    return Told(_("The integrity check found what it cannot repair"), f"{about}: {args['said']}")


PIPELINE_DONE: Final = Kind(
    "pipeline_done",
    gettext_noop("A pipeline is done"),
    gettext_noop("It completed, or failed. Of a pipeline of one stage, that stage says that it failed."),
    _tell_done,
    place=1,
)
STAGE_FAILED: Final = Kind(
    "stage_failed",
    gettext_noop("A stage failed"),
    gettext_noop("For good: not while it is tried again."),
    _tell_failed,
    place=2,
)
INTEGRITY: Final = Kind(
    "integrity",
    gettext_noop("The integrity check found something"),
    gettext_noop("What must never be, repaired or not. For administrators."),
    _tell_integrity,
    role=Role.ADMIN,
    place=7,
)


def moved(pipeline: Pipeline, rows: Sequence[Transition]) -> None:
    """Ends that are worth a word, in the transaction of the moves. What was cancelled somebody wanted."""
    failed = {row.stage_id: row for row in rows if row.stage_id and row.to_status == StageStatus.FAILED}
    ends = (PipelineStatus.COMPLETED, PipelineStatus.FAILED)
    ended = [row for row in rows if row.stage_id is None and row.to_status in ends]
    if not failed and not ended:
        return
    happened: list[Happened] = []
    if failed:
        stages = Stage.objects.filter(pk__in=[pk for pk in failed if pk]).values_list("pk", "name", "kind")
        happened += [_stage_failed(pipeline, failed[pk], *rest) for pk, *rest in stages]
    if ended:
        happened += _ended(pipeline, ended[-1])
    note_all(happened)


def _stage_failed(pipeline: Pipeline, row: Transition, name: str, kind: str) -> Happened:
    return Happened(
        key=f"stage:{row.stage_id}:{row.attempt}:{pipeline.version}",
        kind=STAGE_FAILED.slug,
        severity=Severity.ERROR,
        group=_group(pipeline, row.stage_id if kind == TRAINING else None),
        about=pipeline.name,
        link=reverse("job", args=[row.stage_id]) if kind == TRAINING else _link(pipeline) + f"?stage={name}",
        args={"stage": name, "reason": row.reason[:LONGEST]},
        owner_id=pipeline.created_by_id,
    )


def _ended(pipeline: Pipeline, row: Transition) -> list[Happened]:
    first_two = list(Stage.objects.filter(pipeline=pipeline).order_by("order").values_list("pk", "kind")[:2])
    run = first_two[0][0] if len(first_two) == 1 and first_two[0][1] == TRAINING else None
    failed = row.to_status == PipelineStatus.FAILED
    if failed and len(first_two) == 1:
        return []
    return [
        Happened(
            key=f"pipeline:{pipeline.pk}:{pipeline.version}",
            kind=PIPELINE_DONE.slug,
            severity=Severity.ERROR if failed else Severity.INFO,
            group=_group(pipeline, run),
            about=pipeline.name,
            link=_link(pipeline) if run is None else reverse("job", args=[run]),
            args={"status": row.to_status, "error": row.reason[:LONGEST]},
            owner_id=pipeline.created_by_id,
        )
    ]


def _group(pipeline: Pipeline, run: Any) -> str:
    """A training is the same thing to the doctor and here."""
    return f"pipeline:{pipeline.pk}" if run is None else f"job:{run}"


def _link(pipeline: Pipeline) -> str:
    return reverse("pipeline", args=[pipeline.pk])


def integrity(row: AuditEvent, target: Model, said: str, *, repaired: bool) -> None:
    """With its row of the audit."""
    note(
        Happened(
            key=f"integrity:{row.pk}",
            kind=INTEGRITY.slug,
            severity=Severity.WARNING if repaired else Severity.ERROR,
            group="integrity",
            about=f"{target._meta.model_name} {target.pk}",
            link=reverse("admin:common_auditevent_changelist"),
            args={"said": said[:LONGEST], "repaired": repaired},
        )
    )
