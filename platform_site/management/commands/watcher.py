"""`manage.py watcher`: runs until told to stop."""

import signal
import threading
from typing import Any

from django.core.management.base import BaseCommand

from platform_site.loops import watcher


class Command(BaseCommand):
    help = "Follows the files of running local runs and asks for a look the moment one wrote something."

    def handle(self, *args: Any, **options: Any) -> None:
        stopping = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopping.set())
        watcher.run(stopping)
