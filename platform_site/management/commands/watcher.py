"""`manage.py watcher`: runs until told to stop."""

import signal
import threading
from typing import Any

from django.core.management.base import BaseCommand

from platform_site.loops import far_watcher, watcher


class Command(BaseCommand):
    help = "Follows the files of runs, here and on SSH hosts, and asks for a look the moment one wrote something."

    def handle(self, *args: Any, **options: Any) -> None:
        stopping = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopping.set())
        threading.Thread(target=far_watcher.run, args=(stopping,), name="far watcher", daemon=True).start()
        watcher.run(stopping)
