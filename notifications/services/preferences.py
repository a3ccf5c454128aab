"""Who wants to be told of what, and how."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.conf import settings
from django.db import transaction
from django.utils.translation import get_language, gettext_noop
from django.utils.translation import gettext as _

from notifications.kinds import kind_of, kinds
from notifications.models import Event, Preference
from platform_site.common import audit
from platform_site.common.errors import BadRequest
from platform_site.common.models import User
from platform_site.common.severity import Severity

PAGE: Final = "page"
BROWSER: Final = "browser"
EMAIL: Final = "email"
WEBHOOK: Final = "webhook"
CHANNELS: Final = {
    PAGE: gettext_noop("In the page"),
    BROWSER: gettext_noop("By the browser"),
    EMAIL: gettext_noop("E-mail"),
    WEBHOOK: gettext_noop("Webhook"),
}
DEFAULT_FROM: Final = {
    PAGE: Severity.WARNING,
    BROWSER: Severity.ERROR,
    EMAIL: Severity.ERROR,
    WEBHOOK: Severity.WARNING,
}


@dataclass(frozen=True)
class Channel:
    """`off` are kinds, so that one that is new in a later version is told. `least`: of graded kinds, from where on."""

    off: frozenset[str]
    least: Severity

    def wants(self, event: Event) -> bool:
        kind = kind_of(event.kind)
        if kind is None or event.kind in self.off:
            return False
        return not kind.graded or event.severity >= self.least


@dataclass(frozen=True)
class Wishes:
    """What one person chose, or the defaults."""

    channels: Mapping[str, Channel]
    mine_only: bool
    language: str

    def wants(self, event: Event, channel: str, user: User) -> bool:
        if self.mine_only and event.owner_id not in (None, user.pk):
            return False
        return self.channels[channel].wants(event)


def wishes_of(kept: Preference | None) -> Wishes:
    stored = kept.channels if kept is not None else {}
    return Wishes(
        channels={
            name: Channel(
                frozenset(stored.get(name, {}).get("off", ())),
                Severity(stored.get(name, {}).get("from", DEFAULT_FROM[name])),
            )
            for name in CHANNELS
        },
        mine_only=kept.mine_only if kept is not None else False,
        language=kept.language if kept is not None else _spoken(),
    )


def wishes_for(user: User) -> Wishes:
    return wishes_of(Preference.objects.filter(user=user).first())


def keep_language(user: User) -> None:
    """What is sent outside is in the language in which somebody first said so, until they choose another one."""
    Preference.objects.get_or_create(user=user, defaults={"language": _spoken()})


def _spoken() -> str:
    return get_language() or settings.LANGUAGE_CODE


@transaction.atomic
def keep(
    user: User,
    *,
    channels: Mapping[str, Mapping[str, Any]] | None = None,
    mine_only: bool | None = None,
    language: str | None = None,
) -> Wishes:
    """Change some of it. `channels`: {name: {"kinds": [slug], "severity": word}}, either may be left out.
    Raises BadRequest."""
    known = {kind.slug for kind in kinds()}
    keep_language(user)
    # Of two changes at once, the second one starts from what the first one left.
    kept = Preference.objects.select_for_update().get(user=user)
    before = wishes_of(kept)
    stored = {name: {"off": sorted(one.off), "from": int(one.least)} for name, one in before.channels.items()}
    for name, chosen in (channels or {}).items():
        if name not in CHANNELS:
            _refuse(f"channels.{name}", _("There are: %(known)s.") % {"known": ", ".join(CHANNELS)})
        if "kinds" in chosen:
            if strange := set(chosen["kinds"]) - known:
                told = _("There are: %(known)s.") % {"known": ", ".join(sorted(known))}
                _refuse(f"channels.{name}.kinds", f"{sorted(strange)[0]}: {told}")
            # What another version knew stays as it was chosen.
            stored[name]["off"] = sorted((before.channels[name].off - known) | (known - set(chosen["kinds"])))
        if "severity" in chosen:
            stored[name]["from"] = int(Severity.of(chosen["severity"]))
    if language is not None and language not in dict(settings.LANGUAGES):
        _refuse("language", _("There are: %(known)s.") % {"known": ", ".join(dict(settings.LANGUAGES))})
    kept.channels = stored
    kept.mine_only = before.mine_only if mine_only is None else mine_only
    kept.language = language or before.language
    kept.save()
    audit.record("notifications.prefer", user, kept)
    return wishes_of(kept)


def _refuse(field: str, told: str) -> None:
    raise BadRequest(f"{field}: {told}", {field: told})
