"""Ten thousand stages wait: a tick, a list and a page ask as much of the database as with ten."""

import uuid
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from environments.models import Host
from monitoring.models import Stream
from pipelines import tasks
from pipelines.kinds import Verdict
from pipelines.models import Attempt, Job, Pipeline, Queue, Recipe, RecipeRevision, Stage
from pipelines.services import finish
from pipelines.services.dispatch import LOOKAHEAD, dispatch
from pipelines.services.observe import observe_host
from pipelines.states import PipelineStatus, StageStatus

from . import builders
from .racing import PlayedKind

# Ten thousand rows take a while to make.
pytestmark = [pytest.mark.django_db, pytest.mark.timeout(600)]

FEW, MANY = 10, 10_000
A_PIPELINE = 100


def queued(count: int, *, jobs: bool = False) -> None:
    """So many more queued stages in pipelines of a hundred each, the oldest first, all older than those before."""
    project = builders.project()
    pipelines = Pipeline.objects.bulk_create(
        Pipeline(project=project, name=f"p{at}", status=PipelineStatus.RUNNING)
        for at in range((count + A_PIPELINE - 1) // A_PIPELINE)
    )
    before = Stage.objects.count()
    oldest = timezone.now() - timedelta(hours=30 if before else 20)
    stages = Stage.objects.bulk_create(
        Stage(
            pipeline=pipelines[at // A_PIPELINE], name=f"s{before + at}", order=at % A_PIPELINE, kind=PlayedKind.name,
            queue="training", priority=5, status=StageStatus.QUEUED, queued_at=oldest + timedelta(seconds=at),
        )
        for at in range(count)
    )  # fmt: skip
    Attempt.objects.bulk_create(Attempt(stage=stage, number=1, launch_token=uuid.uuid4().hex) for stage in stages)
    if jobs:
        described(stages)


def described(stages: list[Stage]) -> None:
    """The jobs of trainings."""
    project = builders.project()
    recipe, _made = Recipe.objects.get_or_create(
        slug="tiny", defaults={"project": project, "name": "Tiny", "algorithm": "sft"}
    )
    revision, _made = RecipeRevision.objects.get_or_create(recipe=recipe, number=1, defaults={"base_model": "tiny"})
    Stream.objects.bulk_create(Stream(id=stage.pk, project=project) for stage in stages)
    Job.objects.bulk_create(
        Job(
            id=stage.pk, stage=stage, stream_id=stage.pk, project=project, name=stage.name,
            recipe_revision=revision,
        )
        for stage in stages
    )  # fmt: skip


def grown(*, jobs: bool = False) -> Iterator[None]:
    """First with few stages, then with many."""
    queued(FEW, jobs=jobs)
    yield
    queued(MANY - FEW, jobs=jobs)
    yield


@pytest.fixture
def slots(machine: Host) -> Host:
    Queue.objects.filter(name="training").update(slots=8)
    Host.objects.update(slots=6)
    return machine


def test_a_tick_asks_and_reads_no_more_than_it_has_slots_and_looks_ahead(slots: Host) -> None:
    asked: list[dict[str, int]] = []
    for _stages in grown():
        Stage.objects.update(waiting_for="")
        with CaptureQueriesContext(connection) as start:
            assert dispatch() == 6
        # What found no host was told so: nobody looked at any further stage.
        assert Stage.objects.exclude(waiting_for="").count() <= 8 + LOOKAHEAD - 6
        with CaptureQueriesContext(connection) as nothing_free:
            assert dispatch() == 0
        Attempt.objects.exclude(sent_at=None).update(sent_at=timezone.now())
        with CaptureQueriesContext(connection) as look:
            assert observe_host(slots.pk) == 6
        with CaptureQueriesContext(connection) as tick:
            tasks.tick()
        asked.append({"start": len(start), "full": len(nothing_free), "look": len(look), "tick": len(tick)})
        taken = Stage.objects.filter(status=StageStatus.STARTING)
        assert set(taken) == set(Stage.objects.order_by("queued_at")[:6])
        for attempt in Attempt.objects.filter(stage__in=taken).select_related("stage"):
            assert finish.complete(attempt, Verdict(True), {})
    few, many = asked
    assert max(few.values()) < 40
    assert many == few


def test_priority_decides_and_then_age_also_among_ten_thousand(slots: Host) -> None:
    queued(MANY)
    Host.objects.update(slots=100)
    urgent = [f"s{at}" for at in (9_999, 5_000, 7_000)]
    Stage.objects.filter(name__in=urgent).update(priority=9)
    assert dispatch() == 8
    started = Stage.objects.filter(status=StageStatus.STARTING).values_list("name", flat=True)
    assert set(started) == {*urgent, *(f"s{at}" for at in range(5))}


ADDRESSES = (
    "/api/v1/pipelines/", "/api/v1/tasks/", "/api/v1/jobs/", "/api/v1/tasks/stats/overview/",
    "/pipelines/", "/tasks/", "/",
)  # fmt: skip


def test_lists_take_as_many_queries_with_ten_stages_as_with_ten_thousand(slots: Host, client: Client) -> None:
    client.force_login(builders.person())
    for address in ADDRESSES:
        client.get(address)  # whatever is looked up once is
    asked: list[dict[str, int]] = []
    for _stages in grown(jobs=True):
        found = {}
        for address in ADDRESSES:
            with CaptureQueriesContext(connection) as seen:
                assert client.get(address).status_code == 200
            found[address] = len(seen)
        asked.append(found)
    few, many = asked
    assert max(few.values()) < 40
    assert many == few
