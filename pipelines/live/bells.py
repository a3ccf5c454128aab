"""The bell of every page, by person: how much is unread, and what the browser should show of it."""

import time
from collections.abc import Collection
from typing import Any, Final

from django.template.loader import render_to_string
from django.utils import translation

from notifications.selectors import bell_of

from .render import partial

Listener = tuple[int, str]
"""A user and a language."""

_TEMPLATE: Final = "notifications/_bell.html"


def context(user_id: int) -> dict[str, Any]:
    """For the template. Of two renderings that cross, the later look counts."""
    version = time.time_ns() // 1_000_000
    return {"bell": bell_of(user_id), "version": version}


def bells(listeners: Collection[Listener]) -> dict[Listener, tuple[int, str]]:
    """What is unread, and the fragment that says so. One look at the database a person."""
    told: dict[Listener, tuple[int, str]] = {}
    people = {user_id: context(user_id) for user_id in {user_id for user_id, _language in listeners}}
    for user_id, language in listeners:
        with translation.override(language):
            html = render_to_string(_TEMPLATE, people[user_id])
        told[user_id, language] = (people[user_id]["bell"].unread, partial("#bell", html))
    return told
