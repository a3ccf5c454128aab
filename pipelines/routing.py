"""The addresses of sockets. The last one catches all others: it says that there is nothing."""

from typing import Any

from django.urls import re_path

from . import consumers

# Django's own type of a view answers with a response; Channels' router calls ASGI applications.
_live: Any = consumers.live
_playback: Any = consumers.playback
_rollouts: Any = consumers.rollouts
_updates: Any = consumers.updates
_nowhere: Any = consumers.nowhere

websocket_urlpatterns = [
    re_path(r"^ws/monitoring/(?P<job>[^/]+)/live/?$", _live),
    re_path(r"^ws/monitoring/(?P<job>[^/]+)/playback/?$", _playback),
    re_path(r"^ws/monitoring/(?P<job>[^/]+)/rollouts/?$", _rollouts),
    re_path(r"^ws/updates/?$", _updates),
    re_path(r"", _nowhere),
]
