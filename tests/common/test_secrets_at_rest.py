"""Stored secrets are encrypted under keys that can be changed."""

import pytest
from cryptography.fernet import Fernet
from django.core.exceptions import ImproperlyConfigured
from pytest_django.fixtures import Settings

from platform_site.common import crypto
from platform_site.common.errors import Unavailable


@pytest.fixture
def keys() -> list[str]:
    return [Fernet.generate_key().decode() for _ in range(3)]


def test_what_is_encrypted_can_be_read_again_and_does_not_show(settings: Settings, keys: list[str]) -> None:
    settings.FERNET_KEYS = keys[:1]
    secret = crypto.encrypt("пароль")
    assert "пароль" not in secret
    assert crypto.decrypt(secret) == "пароль"
    assert crypto.encrypt("пароль") != secret


def test_keys_rotate(settings: Settings, keys: list[str]) -> None:
    settings.FERNET_KEYS = keys[:1]
    old = crypto.encrypt("x")
    settings.FERNET_KEYS = [keys[1], keys[0]]
    assert crypto.decrypt(old) == "x"
    new = crypto.rotate(old)
    settings.FERNET_KEYS = keys[1:2]
    assert crypto.decrypt(new) == "x"
    with pytest.raises(Unavailable):
        crypto.decrypt(old)
    with pytest.raises(Unavailable):
        crypto.rotate(old)


def test_a_broken_secret_is_one_clear_error(settings: Settings, keys: list[str]) -> None:
    settings.FERNET_KEYS = keys[:1]
    for broken in ("", "***", "gAAAA", "ü"):
        with pytest.raises(Unavailable):
            crypto.decrypt(broken)


def test_nothing_is_stored_without_a_key(settings: Settings) -> None:
    settings.FERNET_KEYS = []
    with pytest.raises(ImproperlyConfigured):
        crypto.encrypt("x")
