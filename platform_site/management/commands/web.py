"""`manage.py web`: serves pages, API and sockets."""

import socket
from argparse import ArgumentParser
from typing import Any

import uvicorn
from django.conf import settings
from django.core.management.base import BaseCommand

STOP_S = 5


class Command(BaseCommand):
    help = "Serves the pages, the API and the sockets."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
        parser.add_argument("--port", type=int, default=settings.ANNEAL_PORT, help="port (%(default)s)")
        parser.add_argument("--fd", type=int, help="a listening socket to take over, in place of host and port")

    def handle(self, *args: Any, **options: Any) -> None:
        config = uvicorn.Config(
            "platform_site.asgi:application",
            host=options["host"],
            port=options["port"],
            ws="websockets-sansio",
            ws_per_message_deflate=False,  # it costs memory per socket, and the messages are small
            lifespan="off",
            log_config=None,  # Django's
            access_log=False,  # platform_site.middleware.RequestLog
            server_header=False,
            # Addresses count in the brake on guessing: a header that anybody can send must not change them.
            proxy_headers=False,
            timeout_graceful_shutdown=STOP_S,
        )
        listening = [socket.socket(fileno=options["fd"])] if options["fd"] is not None else None
        uvicorn.Server(config).run(sockets=listening)
