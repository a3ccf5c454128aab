"""Every page, of a platform that has been used for long: how long it takes over HTTP, and how much it asks."""

import http.client
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from datasets.models import Dataset
from notifications.models import Target
from pipelines.models import Attempt, Job, Recipe
from pipelines.services import backtests
from platform_site.common.models import User

from . import crowd
from .figures import Figures, spread
from .sandbox import Platform, redis_server

PIPELINES: Final = 1_000
JOBS: Final = 200
STEPS: Final = 1_000_000
FEW: Final = 100
TIMES: Final = 40
HOST: Final = "127.0.0.1"
READS: Final = {200}


@dataclass(frozen=True)
class Page:
    name: str
    address: str


def measure(figures: Figures) -> None:
    """The queries of each page are counted twice, with little in the database and with much: they must not grow."""
    with redis_server():
        client = _signed_in()
        Target.objects.create(user=_admin(), name="bench", medium=Target.Medium.WEBHOOK, service="bench", secret="")
        # Lists that are cut into pages have more than one of them both times.
        newest, run = crowd.add(FEW, FEW), crowd.long_run(1_000)
        backtest = backtests.create(backtests.Asked(), None, by_worker=False).pk
        few = _queries(client, newest, run, backtest)
        pipelines, jobs = figures.amount(PIPELINES, 2 * FEW) - FEW, figures.amount(JOBS, 2 * FEW) - FEW
        newest, run = crowd.add(pipelines, jobs), crowd.long_run(figures.amount(STEPS, 2_000))
        pages = list(_pages(newest, run, backtest))
        many = _queries(client, newest, run, backtest)
        pages = [page for page in pages if page.name in many]
        with Platform(with_worker=False) as platform:
            cookie = client.cookies.output(attrs=[], header="", sep=";").strip()
            times = figures.amount(TIMES, 2)
            taken = {page.name: _timed(platform.port, page.address, cookie, times) for page in pages}
            bare = _timed(platform.port, "/healthz", cookie, times)
    figures.figures = {
        "database": connection.vendor,
        "pages": {
            name: {"ms": spread(seconds), "queries": many[name], "queries_before": few[name]}
            for name, seconds in taken.items()
        },
    }
    figures.limit = {"healthz_ms": spread(bare)}
    worst = max(spread(seconds)["p95"] for seconds in taken.values())
    figures.ratios = {"slowest_p95_to_healthz_p50": round(worst / spread(bare)["p50"], 1)}
    figures.at_most("slowest_p95_ms", worst, 150)
    figures.at_most("most_queries_more", max(many[name] - few[name] for name in many), 0)


def _admin() -> User:
    return User.objects.get(username="admin")


def _signed_in() -> Client:
    client = Client(SERVER_NAME=HOST)
    client.force_login(_admin())
    return client


def _queries(client: Client, pipeline: Any, run: Any, backtest: Any) -> dict[str, int]:
    """Of each page that answers to GET; of the second request, since the first one fills caches of the process."""
    counted = {}
    for page in _pages(pipeline, run, backtest):
        answer = client.get(page.address)
        if answer.status_code not in READS:
            continue  # an action, or an address that leads elsewhere
        with CaptureQueriesContext(connection) as asked:
            client.get(page.address)
        counted[page.name] = len(asked)
    return counted


def _pages(pipeline: Any, run: Any, backtest: Any) -> Iterator[Page]:
    """Each address below the site's root, of something that is there."""
    job = Job.objects.get(pk=run)
    task = Attempt.objects.filter(stage__pipeline=pipeline).order_by("pk")[0]
    dataset = Dataset.objects.filter(versions__isnull=False).order_by("pk")[0]
    common: dict[str, Any] = {
        "job_id": run,
        "pipeline_id": pipeline.pk,
        "task_id": task.pk,
        "backtest_id": backtest,
        "target_id": Target.objects.get().pk,
        "number": 1,
    }
    recipes = Recipe.objects.order_by("pk")
    queries = {
        "job-compare": f"?job={run}&job={Job.objects.exclude(pk=run).order_by('pk')[0].pk}",
        "recipe-diff": f"?a={recipes[0].slug}&b={recipes[1].slug}",
        "job-new": f"?recipe={job.recipe_revision.recipe.slug}",
    }
    named: dict[str, Mapping[str, str]] = {
        "recipes": {"slug": recipes[0].slug},
        "datasets": {"slug": dataset.slug},
        "hosts": {"name": "local"},
        "pipelines": {"name": "stage-0"},
    }
    for pattern in _patterns():
        wanted = pattern.pattern.converters
        values = {**common, **named.get(str(pattern.pattern).partition("/")[0], {})}
        if pattern.name and wanted.keys() <= values.keys():
            address = reverse(pattern.name, kwargs={key: values[key] for key in wanted})
            yield Page(pattern.name, address + queries.get(pattern.name, ""))


def _patterns() -> Iterator[URLPattern]:
    """Of the pages: what stands at the root, without the API and the admin."""
    for found in get_resolver().url_patterns:
        if isinstance(found, URLResolver) and not str(found.pattern):
            yield from (page for page in found.url_patterns if isinstance(page, URLPattern))


def _timed(port: int, address: str, cookie: str, times: int) -> list[float]:
    """Seconds of each request over one kept connection, as a browser's; the first is not counted."""
    wire = http.client.HTTPConnection(HOST, port, timeout=60)
    taken = []
    for _ in range(times + 1):
        started = time.perf_counter()
        wire.request("GET", address, headers={"Cookie": cookie})
        answer = wire.getresponse()
        answer.read()
        taken.append(time.perf_counter() - started)
        if answer.status not in READS:
            raise RuntimeError(f"{address} answered {answer.status}")
    wire.close()
    return taken[1:]
