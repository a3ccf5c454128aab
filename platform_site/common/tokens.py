"""API tokens: made, found and revoked. The key is in its owner's hands alone; the database has its hash."""

from datetime import timedelta
from typing import Final

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _
from knox.crypto import hash_token
from knox.models import get_digest_token
from knox.settings import CONSTANTS

from . import audit
from .errors import Invalid
from .models import ApiToken, User

PREFIX: Final = "anl_"
"""By which secret scanners and people know a key for ours."""
LONGEST_KEY: Final = 200
MAX_DAYS: Final = 3650
USED_GRAIN: Final = timedelta(minutes=5)
"""`last_used_at` is written at most this often, so that reading with a token does not write each time."""


@transaction.atomic
def issue(user: User, *, scope: str, days: int, name: str = "", by: User | str | None = None) -> tuple[ApiToken, str]:
    """Makes a token and returns it with its key, which can never be had again. Raises Invalid."""
    token = ApiToken(user=user, scope=scope, name=name)
    key = prepare(token, days=days)
    token.save(force_insert=True)
    audit.record("token.issue", by if by is not None else user, user, scope=scope, days=days, name=name)
    return token, key


def prepare(token: ApiToken, *, days: int) -> str:
    """Fills in hash and expiry of an unsaved token and returns its key. Raises Invalid."""
    if token.scope not in ApiToken.Scope.values:
        raise Invalid(_("There is no such scope."), {"scope": _("Choose read, operate or admin.")})
    if not 1 <= days <= MAX_DAYS:
        raise Invalid(
            _("The token's life is out of range."),
            {"days": _("Choose between 1 and {most} days.").format(most=MAX_DAYS)},
        )
    token.digest, key = get_digest_token(PREFIX)
    token.token_key = key[: CONSTANTS.TOKEN_KEY_LENGTH]
    token.expiry = timezone.now() + timedelta(days=days)
    return str(key)


@transaction.atomic
def revoke(token: ApiToken, *, by: User | str | None = None) -> None:
    """Ends a token. Its open sockets are closed on commit."""
    audit.record("token.revoke", by, token.user, scope=token.scope, name=token.name)
    token.delete()


def find(key: str) -> ApiToken | None:
    """The living token of this key with its user, if the user is active. One query.

    The lookup is by the hash of 256 random bits, so that its timing tells nothing about any key.
    """
    if not key or len(key) > LONGEST_KEY or not key.isascii() or not key.isprintable():
        return None
    token: ApiToken | None = ApiToken.objects.select_related("user").filter(digest=hash_token(key)).first()
    if token is None or is_expired(token) or not token.user.is_active:
        return None
    return token


def is_expired(token: ApiToken) -> bool:
    return token.expiry is not None and token.expiry <= timezone.now()


def mark_used(token: ApiToken) -> None:
    """Notes the use, coarsely. Two requests at once write once."""
    now = timezone.now()
    if token.last_used_at is None or now - token.last_used_at >= USED_GRAIN:
        ApiToken.objects.filter(pk=token.pk, last_used_at=token.last_used_at).update(last_used_at=now)
