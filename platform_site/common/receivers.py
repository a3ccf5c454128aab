"""What has to follow every change of a right, whichever way it came: page, admin, command or shell.

These events are Django's own and have many sources, so that a call at each source would be forgotten at one.
Nothing of the domain happens here: sockets look again at their rights, and signing in and out is recorded.
"""

from typing import Any

from django.contrib.auth.models import Group
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.db.models.signals import m2m_changed, post_delete, post_save
from django.http import HttpRequest

from . import audit, sockets
from .models import ApiToken, User


def connect() -> None:
    """Called once, when the app is ready."""
    user_logged_in.connect(_logged_in, dispatch_uid="anneal.logged_in")
    user_logged_out.connect(_logged_out, dispatch_uid="anneal.logged_out")
    m2m_changed.connect(_groups_changed, sender=User.groups.through, dispatch_uid="anneal.groups_changed")
    post_save.connect(_user_saved, sender=User, dispatch_uid="anneal.user_saved")
    post_delete.connect(_user_deleted, sender=User, dispatch_uid="anneal.user_deleted")
    post_save.connect(_token_saved, sender=ApiToken, dispatch_uid="anneal.token_saved")
    post_delete.connect(_token_deleted, sender=ApiToken, dispatch_uid="anneal.token_deleted")


def _logged_in(request: HttpRequest, user: User, **_: Any) -> None:
    audit.record("user.login", user, user)


def _logged_out(request: HttpRequest, user: User | None, **_: Any) -> None:
    # Sent before the session is flushed; in autocommit the sockets are told at once, and a socket that looks
    # again too early would still find the session. So the session goes first.
    session_key = request.session.session_key
    if session_key:
        request.session.delete(session_key)
        sockets.announce_session(session_key)
    if user is not None:
        audit.record("user.logout", user, user)


def _groups_changed(instance: User | Group, action: str, reverse: bool, pk_set: set[int] | None, **_: Any) -> None:
    if action == "pre_clear" and isinstance(instance, Group):
        # Afterwards nobody could tell who was in it. The message goes on commit, when they no longer are.
        for user_id in instance.user_set.values_list("pk", flat=True):
            sockets.announce_user(user_id)
    elif action in {"post_add", "post_remove", "post_clear"}:
        for user_id in (pk_set or ()) if reverse else (instance.pk,):
            sockets.announce_user(user_id)


def _user_saved(instance: User, created: bool, update_fields: frozenset[str] | None, **_: Any) -> None:
    # Signing in saves last_login alone, which changes no right.
    if not created and set(update_fields or ()) != {"last_login"}:
        sockets.announce_user(instance.pk)


def _user_deleted(instance: User, **_: Any) -> None:
    sockets.announce_user(instance.pk)


def _token_saved(instance: ApiToken, created: bool, **_: Any) -> None:
    if not created:
        sockets.announce_token(instance.digest)


def _token_deleted(instance: ApiToken, **_: Any) -> None:
    sockets.announce_token(instance.digest)
