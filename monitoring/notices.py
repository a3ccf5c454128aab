"""What is told of runs: findings, that one stands still, and that a disk fills up."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from monitoring import told
from monitoring.diagnostics.core import Finding as Found
from monitoring.diagnostics.core import Severity
from monitoring.diagnostics.rules.log_error import RULE as LOG_ERROR
from monitoring.diagnostics.rules.stall import RULE as STALL
from monitoring.models import Finding, Stream
from notifications.kinds import Kind, Told
from notifications.services.events import Happened, note, note_all
from platform_site.common import clock

LATELY_S: Final = 600.0
"""What is found in a run whose last step is older is no news."""
SOON_S: Final = 24 * 3600.0
VERY_SOON_S: Final = 2 * 3600.0


def _tell_finding(about: str, args: Mapping[str, Any]) -> Told:
    finding = Finding(**args)
    title = _("%(finding)s in %(run)s") % {"finding": told.title(finding), "run": about}
    return Told(title, told.message(finding))


def _tell_disk(about: str, args: Mapping[str, Any]) -> Told:
    text = _("At its pace the volume of its run folder is full in %(hours)s hours.") % {"hours": args["hours"]}
    return Told(_("The disk under %(run)s fills up") % {"run": about}, text)


ANOMALY: Final = Kind(
    "anomaly",
    gettext_noop("Anomaly in a run"),
    gettext_noop("A finding of the doctor's, from the severity chosen below on."),
    _tell_finding,
    graded=True,
    place=3,
)
STALLED: Final = Kind(
    "stall", gettext_noop("A run stands still"), gettext_noop("No step has come for long."), _tell_finding, place=4
)
DISK_FILLING: Final = Kind(
    "disk_filling",
    gettext_noop("A disk fills up"),
    gettext_noop("It will be full within a day, by the forecast of a run on it."),
    _tell_disk,
    place=5,
)


def found(stream: Stream, attempt: int, findings: Iterable[Found]) -> None:
    """Each once, and once more when it gets worse, in the transaction that keeps it. What the log of a failed run says
    is told with its failure."""
    about = stream.name or str(stream.pk)
    note_all(
        [
            Happened(
                key=f"finding:{stream.pk}:{attempt}:{one.rule}:{one.start_step}:{int(one.severity)}:{one.metric}",
                kind=(STALLED if one.rule == STALL.name else ANOMALY).slug,
                severity=one.severity,
                group=f"job:{stream.pk}",
                about=about,
                link=reverse("job", args=[stream.pk]),
                args=_args(one),
                owner_id=stream.owner_id,
            )
            for one in findings
            if one.severity >= Severity.WARNING and one.rule != LOG_ERROR.name
        ]
    )


def _args(one: Found) -> dict[str, Any]:
    """As far as the sentence needs them: evidence stays with the finding."""
    return {
        "rule": one.rule,
        "metric": one.metric,
        "start_step": one.start_step,
        "value": one.value,
        "threshold": one.threshold,
        "code": one.code,
        "params": {name: value for name, value in one.params.items() if name != "lines"},
    }


def is_news(stream: Stream) -> bool:
    """Whether the run is under way, or was just now."""
    return stream.updated_at is not None and clock.age_s(stream.updated_at) < LATELY_S


def disk_fills(stream: Stream, attempt: int, full_in_s: float) -> None:
    """At most twice an attempt: once SOON_S are left, and once VERY_SOON_S are."""
    severity = Severity.ERROR if full_in_s <= VERY_SOON_S else Severity.WARNING
    note(
        Happened(
            key=f"disk:{stream.pk}:{attempt}:{int(severity)}",
            kind=DISK_FILLING.slug,
            severity=severity,
            group=f"job:{stream.pk}",
            about=stream.name or str(stream.pk),
            link=reverse("job", args=[stream.pk]),
            args={"hours": round(full_in_s / 3600, 1)},
            owner_id=stream.owner_id,
        )
    )
