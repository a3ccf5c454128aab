"""The addresses of sockets. The last one catches all others: it says that there is nothing."""

from django.urls import re_path

from . import consumers

websocket_urlpatterns = [
    re_path(r"^ws/monitoring/(?P<job>[^/]+)/live/?$", consumers.live),
    re_path(r"^ws/updates/?$", consumers.updates),
    re_path(r"", consumers.nowhere),
]
