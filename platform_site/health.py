"""Is the platform alive, and can it do its work? Open to everyone, so neither answer holds a secret."""

import logging
from collections.abc import Callable
from typing import Final

from django.contrib.auth.decorators import login_not_required
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from redis.exceptions import RedisError

from .common.messages import connect
from .common.outages import data_folder
from .common.queues import ALL_QUEUES
from .common.workers import live_workers

log = logging.getLogger(__name__)


@login_not_required
@require_safe
@never_cache
def healthz(request: HttpRequest) -> HttpResponse:
    """200 as long as the process answers; asks nothing of anybody."""
    return JsonResponse({"status": "ok"})


@login_not_required
@require_safe
@never_cache
def readyz(request: HttpRequest) -> HttpResponse:
    """200 when database, disk space, Redis and workers for every queue are there, else 503, naming what is missing."""
    parts = {name: check() for name, check in CHECKS.items()}
    ready = all(answer == "ok" for answer in parts.values())
    return JsonResponse({"status": "ok" if ready else "unavailable", **parts}, status=200 if ready else 503)


def _database() -> str:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        log.exception("the database does not answer")
        return "unavailable"
    return "ok"


def _disk() -> str:
    return data_folder() or "ok"


def _redis() -> str:
    try:
        with connect() as client:
            client.ping()
    except (RedisError, OSError):
        return "unavailable"
    return "ok"


def _workers() -> str:
    served = {queue for worker in live_workers() for queue in worker.queues}
    return "ok" if served.issuperset(ALL_QUEUES) else "unavailable"


CHECKS: Final[dict[str, Callable[[], str]]] = {
    "database": _database,
    "disk": _disk,
    "redis": _redis,
    "workers": _workers,
}
