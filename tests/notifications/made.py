"""Things that happen, and what became of telling them."""

from typing import Any

from notifications.models import Delivery, Event, Notification, Target
from notifications.services.events import Happened
from notifications.services.spread import spread
from platform_site.common.models import User
from platform_site.common.severity import Severity


def failure(number: int = 1, **fields: Any) -> Happened:
    given: dict[str, Any] = {
        "key": f"stage:{number}",
        "kind": "stage_failed",
        "severity": Severity.ERROR,
        "group": f"pipeline:{number}",
        "about": f"Pipeline {number}",
        "link": f"/pipelines/{number}/",
        "args": {"stage": "train", "reason": "No room."},
        **fields,
    }
    return Happened(**given)


def anomaly(step: int, severity: Severity = Severity.WARNING, **fields: Any) -> Happened:
    given: dict[str, Any] = {
        "key": f"finding:{step}:{int(severity)}",
        "kind": "anomaly",
        "severity": severity,
        "group": "job:1",
        "about": "Tiny",
        "link": "/jobs/1/",
        "args": {
            "rule": "kl_explosion",
            "metric": "actor/kl_loss",
            "start_step": step,
            "value": 2.5,
            "threshold": 1.0,
            "code": "",
            "params": {},
        },
        **fields,
    }
    return Happened(**given)


def spread_all() -> None:
    while spread():
        pass


def titles(user: User) -> list[str]:
    return [one.event.told.title for one in Notification.objects.filter(user=user).select_related("event")]


def keys() -> list[str]:
    return sorted(Event.objects.values_list("key", flat=True))


def errors(target: Target) -> int:
    """The lane of errors."""
    return target.lanes.get(urgent=True).pk


def states() -> dict[str, int]:
    found: dict[str, int] = {}
    for state in Delivery.objects.values_list("state", flat=True):
        found[state] = found.get(state, 0) + 1
    return found
