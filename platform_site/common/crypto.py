"""Secrets at rest: Fernet with key rotation. The keys stand outside the database (`settings.FERNET_KEYS`)."""

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext as _

from .errors import Unavailable


def encrypt(text: str) -> str:
    """`text` under the newest key, as ASCII."""
    return _fernet().encrypt(text.encode()).decode()


def decrypt(secret: str) -> str:
    """The text again, under whichever key it was written. Raises Unavailable when none fits."""
    try:
        return _fernet().decrypt(secret.encode()).decode()
    except InvalidToken:
        raise Unavailable(_unreadable()) from None


def rotate(secret: str) -> str:
    """The same secret under the newest key. Raises Unavailable when no key fits."""
    try:
        return _fernet().rotate(secret.encode()).decode()
    except InvalidToken:
        raise Unavailable(_unreadable()) from None


def _unreadable() -> str:
    return _("A stored secret cannot be read with the present keys. Restore the key or enter the secret again.")


def _fernet() -> MultiFernet:
    """Newest key first. Built on each use, so that a change of settings counts at once: microseconds."""
    keys = list(getattr(settings, "FERNET_KEYS", ()))
    if not keys:
        raise ImproperlyConfigured("FERNET_KEYS is empty: secrets cannot be stored.")
    return MultiFernet([Fernet(key) for key in keys])
