"""The form of how one person is told: a box for each kind and channel."""

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.http import QueryDict
from django.utils.translation import gettext as _

from notifications.kinds import Kind, kinds, severity_label
from notifications.models import Target
from notifications.services.preferences import CHANNELS, Wishes
from platform_site.common.roles import Role
from platform_site.common.severity import Severity

LEAST = (Severity.WARNING, Severity.ERROR, Severity.CRITICAL)


@dataclass(frozen=True)
class Box:
    channel: str
    channel_label: str
    checked: bool


@dataclass(frozen=True)
class Row:
    kind: Kind
    label: str
    hint: str
    boxes: list[Box]


@dataclass(frozen=True)
class Column:
    """`usable`: there is something for it to be sent to."""

    name: str
    label: str
    usable: bool
    least: Severity


def columns(wishes: Wishes, targets: list[Target]) -> list[Column]:
    media = {target.medium for target in targets} | {"page", "browser"}
    return [Column(name, _(label), name in media, wishes.channels[name].least) for name, label in CHANNELS.items()]


def rows(wishes: Wishes, role: Role | None) -> list[Row]:
    """Of the kinds that somebody with this role hears of."""
    return [
        Row(
            kind,
            _(kind.label),
            _(kind.hint),
            [Box(name, _(label), kind.slug not in wishes.channels[name].off) for name, label in CHANNELS.items()],
        )
        for kind in kinds()
        if role is not None and role >= kind.role
    ]


def severities() -> list[tuple[str, str]]:
    return [(severity.word, severity_label(severity)) for severity in LEAST]


def asked(sent: QueryDict, wishes: Wishes, role: Role | None) -> dict[str, Any]:
    """What was sent, as the service takes it. Of kinds that the form did not show nothing changes."""
    shown = {row.kind.slug for row in rows(wishes, role)}
    least = {severity.word for severity in LEAST}
    channels: dict[str, dict[str, Any]] = {}
    for name in CHANNELS:
        hidden = {kind.slug for kind in kinds()} - shown - wishes.channels[name].off
        channels[name] = {"kinds": sorted((set(sent.getlist(name)) & shown) | hidden)}
        if (severity := sent.get(f"{name}-from", "")) in least:
            channels[name]["severity"] = severity
    language = sent.get("language", "")
    return {
        "channels": channels,
        "mine_only": sent.get("mine_only") == "on",
        "language": language if language in dict(settings.LANGUAGES) else None,
    }
