"""`manage.py scheduler`: runs until told to stop."""

import signal
import threading
from typing import Any

from django.core.management.base import BaseCommand

from platform_site.loops import scheduler


class Command(BaseCommand):
    help = "Asks once a second that everything be looked at. Two may run: one ticks, the other stands by."

    def handle(self, *args: Any, **options: Any) -> None:
        stopping = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopping.set())
        scheduler.run(stopping)
