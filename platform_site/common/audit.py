"""The record of who did what. `record` joins the caller's transaction: no deed without its row, nor the reverse.

audit.record("job.submit", user, job, recipe="tiny-sft")
"""

import re
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import Any, Final

from django.contrib.auth.models import AnonymousUser
from django.db.models import Model

from .jsonsafe import finite
from .models import AuditEvent, User

request_address: ContextVar[str | None] = ContextVar("request_address", default=None)
"""Peer of the request being served, set by `middleware.RequestContext`: services need not pass it down."""

REMOVED: Final = "[removed]"
LONGEST_TEXT: Final = 500
_SECRET_NAME: Final = re.compile(
    r"pass(word|phrase|wd)?$|secret|token$|credential|private|authorization|cookie|(^|_)key$|api_?key",
    re.IGNORECASE,
)


def record(
    action: str, user: User | AnonymousUser | str | None, target: Model | None = None, **details: Any
) -> AuditEvent:
    """Writes one row. `user` may be the name of the part that acted ("scheduler"); `action` is `noun.verb`.
    Anything in `details` whose name sounds like a secret is left out, long text is cut."""
    person = user if isinstance(user, User) else None
    name = user if isinstance(user, str) else (person.get_username() if person else "")
    return AuditEvent.objects.create(
        actor=person,
        actor_name=name[:150],
        action=action[:64],
        object_type=target._meta.label_lower[:64] if target is not None else "",
        object_id=str(target.pk)[:128] if target is not None else "",
        address=request_address.get(),
        details=without_secrets(details),
    )


def without_secrets(value: Any) -> Any:
    """JSON of the same shape: values under secret-sounding names replaced, long text cut, NaN spelled out."""
    if isinstance(value, Mapping):
        return {
            str(name): REMOVED if _SECRET_NAME.search(str(name)) else without_secrets(item)
            for name, item in value.items()
        }
    if isinstance(value, str):
        return value if len(value) <= LONGEST_TEXT else value[:LONGEST_TEXT] + "…"
    if isinstance(value, Sequence | set | frozenset):
        return [without_secrets(item) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return finite(value)
    return str(value)[:LONGEST_TEXT]
