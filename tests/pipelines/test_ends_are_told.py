"""Ends of pipelines and stages, hosts that stay away and repairs of the books become events, each once."""

from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from environments.models import Host
from environments.services import reach
from environments.transports import Unreachable
from monitoring.models import Stream
from notifications.models import Event
from pipelines.kinds import Verdict
from pipelines.models import Attempt, Pipeline, Stage
from pipelines.services.cancel import cancel_pipeline
from pipelines.services.control import retry_pipeline
from pipelines.services.create import PipelineSpec, StageSpec, build
from pipelines.services.finish import fail_or_retry
from pipelines.services.integrity import check
from pipelines.states import StageEvent, StageStatus
from pipelines.transitions import move_stage
from tests.browser import world

from . import builders

pytestmark = pytest.mark.django_db(transaction=True)


def told() -> list[tuple[str, int, str]]:
    return [(event.kind, event.severity, event.told.title) for event in Event.objects.order_by("pk")]


def test_a_pipeline_that_completes_is_told_once_with_who_started_it(tmp_path: Path) -> None:
    made = world.pipeline("Fan", world.noop("first"), world.noop("second", "first"), root=tmp_path)
    assert told() == [("pipeline_done", 1, "Fan completed")]
    event = Event.objects.get()
    assert (event.link, event.owner_id) == (f"/pipelines/{made.pk}/", made.created_by_id)


def test_a_failure_is_told_by_the_stage_and_by_a_pipeline_of_several(tmp_path: Path) -> None:
    bad = world.noop("second", "first", result=world.LOST_LOOK_UP)
    made = world.pipeline("Broken", world.noop("first"), bad, world.noop("third", "second"), root=tmp_path)
    assert told() == [
        ("stage_failed", 3, "Stage second of Broken failed"),
        ("pipeline_done", 3, "Broken failed"),
    ]
    stage, whole = Event.objects.order_by("pk")
    assert "missing" in stage.told.text
    assert whole.told.text.startswith("Stage second failed: ")
    assert stage.link == f"/pipelines/{made.pk}/?stage=second"


def test_a_pipeline_of_one_stage_fails_once() -> None:
    stage = builders.stage(StageStatus.RUNNING, of=builders.pipeline(name="Alone"), name="only")
    assert fail_or_retry(stage.attempts.get(), Verdict(False, "No room."), {})
    assert Pipeline.objects.get(pk=stage.pipeline_id).status == "failed"
    assert told() == [("stage_failed", 3, "Stage only of Alone failed")]


def test_what_is_retried_and_fails_again_is_told_again(tmp_path: Path) -> None:
    bad = world.noop("second", "first", result=world.LOST_LOOK_UP)
    made = world.pipeline("Broken", world.noop("first"), bad, root=tmp_path)
    retry_pipeline(made.pk, user=world.person())
    world.do_work()
    assert [kind for kind, *_rest in told()] == ["stage_failed", "pipeline_done"] * 2


def test_what_was_cancelled_somebody_wanted(tmp_path: Path) -> None:
    made = world.pipeline("Unwanted", world.noop("a"), world.noop("b", "a"), root=tmp_path, work=False)
    cancel_pipeline(made.pk, user=world.person())
    assert Pipeline.objects.get(pk=made.pk).status == "cancelled"
    assert told() == []


def test_a_move_that_does_not_take_is_not_told() -> None:
    stage = builders.stage(StageStatus.RUNNING)
    assert not move_stage(stage.pk, StageEvent.FAIL, actor="test", attempt=7)
    assert told() == []
    assert move_stage(stage.pk, StageEvent.FAIL, actor="test", reason="No room.", attempt=1)
    assert not move_stage(stage.pk, StageEvent.FAIL, actor="test", attempt=1)
    assert [kind for kind, *_rest in told()] == ["stage_failed"]
    event = Event.objects.get()
    assert (event.link, event.group, event.told.text) == (f"/jobs/{stage.pk}/", f"job:{stage.pk}", "No room.")


def test_a_run_is_known_to_its_stream_by_name_and_owner(tmp_path: Path) -> None:
    world.install()
    Host.objects.filter(name="local").update(root=str(tmp_path))
    user = world.person()
    spec = PipelineSpec(name="My run", stages=(StageSpec("train", "train_model", {"recipe": "tiny-sft"}),))
    made = build(user, spec)
    stream = Stream.objects.get(pk=made.stages.get().pk)
    assert (stream.name, stream.owner_id) == ("My run", user.pk)


def test_a_host_that_stays_away_for_a_minute_is_told_once(tmp_path: Path) -> None:
    host = builders.host("gpu-1", kind="ssh")
    for _ in range(3):
        reach.lost(host, Unreachable("no route"))
    assert told() == []
    host.unreachable_since = timezone.now() - timedelta(seconds=61)
    host.save()
    for _ in range(3):
        reach.lost(host, Unreachable("no route"))
    assert told() == [("host_unreachable", 3, "Host gpu-1 does not answer")]
    assert Event.objects.get().told.text == "no route"
    assert reach.found(host)
    host.unreachable_since = timezone.now() - timedelta(seconds=90)
    host.save()
    reach.lost(host, Unreachable("no route"))
    assert len(told()) == 2, "it went away another time"


def test_a_repair_of_the_books_is_told_with_its_row_of_the_audit() -> None:
    stage = builders.stage(StageStatus.COMPLETED, completed_at=timezone.now(), started_at=timezone.now())
    Stage.objects.filter(pk=stage.pk).update(started_at=timezone.now() - timedelta(seconds=5))
    Attempt.objects.filter(stage=stage).update(outcome="")
    check()
    found = [event.told for event in Event.objects.filter(kind="integrity")]
    assert {one.title for one in found} == {"The integrity check repaired something"}
    assert sum("closed" in one.text for one in found) == 1
    before = Event.objects.count()
    check()
    assert Event.objects.count() == before
