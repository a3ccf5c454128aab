"""`manage.py worker`: takes messages from the queues until told to stop."""

import signal
import threading
import time
from argparse import ArgumentParser
from typing import Any

import dramatiq
from django.core.management.base import BaseCommand, CommandError
from django.utils.module_loading import autodiscover_modules

from platform_site.broker import Broker
from platform_site.common.garbage import keep_what_is_loaded
from platform_site.common.queues import (
    ALL_QUEUES,
    AWAY_HOSTS,
    CONTROL,
    HOST_CHECKS,
    IDLE_HOSTS,
    NOTIFICATIONS,
    OUTSIDE,
    REMOTE,
)
from platform_site.loops import far_watcher, scheduler, watcher

STAGE_THREADS = 4
THREADS = {
    CONTROL: 2,
    REMOTE: 8,
    AWAY_HOSTS: 4,
    IDLE_HOSTS: 4,
    HOST_CHECKS: 8,
    NOTIFICATIONS: 1,
    OUTSIDE: 2,
}
"""Of each queue that has threads of its own."""
POLL_MS = 1000
"""How long a consumer sleeps when nothing wakes it. Messages wake it at once."""
STOP_MS = 20_000


class Command(BaseCommand):
    help = "Runs a worker: one set of threads for the stage queues, another for the platform's own ticks."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--queues", default=",".join(ALL_QUEUES), help="names, separated by commas (all)")
        parser.add_argument("--threads", type=int, default=STAGE_THREADS, help="for the stage queues (%(default)s)")
        parser.add_argument("--with-scheduler", action="store_true", help="run the scheduler in this process too")
        parser.add_argument("--with-watcher", action="store_true", help="run the watcher in this process too")

    def handle(self, *args: Any, **options: Any) -> None:
        queues = {name.strip() for name in options["queues"].split(",") if name.strip()}
        if unknown := queues - set(ALL_QUEUES):
            raise CommandError(f"no such queue: {', '.join(sorted(unknown))} (there are {', '.join(ALL_QUEUES)})")
        if not queues or options["threads"] < 1:
            raise CommandError("a worker needs at least one queue and one thread")
        stopping = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopping.set())

        autodiscover_modules("tasks")
        broker = dramatiq.get_broker()
        for queue in ALL_QUEUES:  # a queue without an actor yet is served too
            broker.declare_queue(queue)
        broker.emit_after("process_boot")
        workers = [
            dramatiq.Worker(broker, queues=served, worker_threads=threads, worker_timeout=POLL_MS)
            for served, threads in (
                *((queues & {queue}, threads) for queue, threads in THREADS.items()),
                (queues - THREADS.keys(), options["threads"]),
            )
            if served
        ]
        keep_what_is_loaded()
        for worker in workers:
            worker.start()
        loops = [
            threading.Thread(target=run, args=(stopping,), name=name, daemon=True)
            for name, run in (
                ("scheduler", scheduler.run if options["with_scheduler"] else None),
                ("watcher", watcher.run if options["with_watcher"] else None),
                ("far watcher", far_watcher.run if options["with_watcher"] else None),
            )
            if run is not None
        ]
        for loop in loops:
            loop.start()

        stopping.wait()
        stops = [threading.Thread(target=worker.stop, kwargs={"timeout": STOP_MS}) for worker in workers]
        for stop in stops:
            stop.start()
        while any(stop.is_alive() for stop in stops):
            if isinstance(broker, Broker):
                broker.wake_all()  # consumers look whether they should go on only when they wake
            time.sleep(0.05)
        for loop in loops:
            loop.join(timeout=5)
        broker.close()
