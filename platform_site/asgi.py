"""The web process: pages and API over HTTP, live updates over sockets."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "platform_site.settings")
pages = get_asgi_application()  # sets Django up, which what follows needs

from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.urls import get_resolver  # noqa: E402

from pipelines.routing import websocket_urlpatterns  # noqa: E402
from platform_site.common.garbage import keep_what_is_loaded  # noqa: E402
from platform_site.common.sockets import SocketAccess  # noqa: E402

application = ProtocolTypeRouter({"http": pages, "websocket": SocketAccess(URLRouter(websocket_urlpatterns))})
get_resolver().url_patterns  # noqa: B018  the views are loaded now, and not with the first request
keep_what_is_loaded()
