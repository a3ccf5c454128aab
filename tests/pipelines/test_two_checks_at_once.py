"""Integrity checks that overlap (a scheduled one, and `manage.py reconcile`) repair everything once."""

import time
from collections import Counter
from datetime import timedelta

import pytest
from django.db.models import Count, Q
from django.utils import timezone

from environments.models import Host
from pipelines.models import Attempt, Stage
from pipelines.services import integrity
from pipelines.states import STAGE_TERMINAL, Outcome, PipelineStatus, StageStatus
from platform_site.common.models import AuditEvent

from . import builders, racing

pytestmark = pytest.mark.django_db(transaction=True)

EACH = 12


def damaged() -> dict[str, list[Stage]]:
    """Of each sort some: active though their attempt is over, queued without one, waiting for nothing, open though
    their stage has ended."""
    now = timezone.now()
    began = now - timedelta(minutes=1)
    work = {"kind": "noop", "queue": "default"}
    active = [builders.stage(StageStatus.RUNNING, **work, started_at=began) for _ in range(EACH)]
    Attempt.objects.filter(stage__in=active).update(outcome=Outcome.SUCCEEDED, completed_at=now)
    queued = [builders.stage(StageStatus.QUEUED, **work) for _ in range(EACH)]
    Attempt.objects.filter(stage__in=queued).delete()
    waiting = []
    for _ in range(EACH):
        pipeline = builders.pipeline(PipelineStatus.RUNNING)
        done = builders.stage(
            StageStatus.COMPLETED, of=pipeline, name="done", **work, started_at=began, completed_at=now
        )
        waiting.append(builders.stage(StageStatus.PENDING, of=pipeline, name="next", **work, needs=(done,)))
    ended = [builders.stage(StageStatus.COMPLETED, **work, started_at=began, completed_at=now) for _ in range(EACH)]
    for stage in ended:
        Attempt.objects.create(stage=stage, number=7, launch_token="t", started_at=began)
    return {"active": active, "queued": queued, "waiting": waiting, "ended": ended}


def test_three_at_once_repair_each_thing_once(machine: Host) -> None:
    found = damaged()
    deadline = time.monotonic() + 60
    with racing.racers(*[integrity.check] * 3, pause_s=0):
        while Attempt.objects.filter(outcome="", stage__status__in=STAGE_TERMINAL).exists() or not queued(found):
            assert time.monotonic() < deadline, "never repaired"
            time.sleep(0.05)
    integrity.check()

    assert integrity.check() == [], "nothing is left, and nothing is repaired for ever"
    racing.assert_the_log_is_legal()
    tries = Stage.objects.annotate(open=Count("attempts", filter=Q(attempts__outcome="")))
    assert set(tries.filter(status=StageStatus.QUEUED).values_list("open", flat=True)) == {1}
    assert not tries.filter(status__in=STAGE_TERMINAL, open__gt=0).exists()
    assert set(Stage.objects.filter(pk__in=ids(found["active"])).values_list("status", flat=True)) == {"completed"}
    for stage in found["active"]:
        assert stage.transitions.filter(to_status="completed").count() == 1
    told = AuditEvent.objects.filter(actor_name=integrity.ACTOR, action=integrity.REPAIRED)
    repairs = Counter(told.values_list("object_id", "details__what"))
    assert len(repairs) >= 4 * EACH
    assert set(repairs.values()) == {1}, "each repair is told by the one that made it"


def queued(found: dict[str, list[Stage]]) -> bool:
    ready = Stage.objects.filter(pk__in=ids(found["queued"] + found["waiting"]), status=StageStatus.QUEUED)
    return ready.filter(attempts__outcome="").distinct().count() == 2 * EACH


def ids(stages: list[Stage]) -> list[object]:
    return [stage.pk for stage in stages]
