"""GPUs of a host belong to one run at a time: taken with its start, given back with its end, counted by true times."""

import os
import signal
import threading
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from environments.models import Host
from pipelines.gpu_selectors import gpu_hours, gpu_hours_of, gpu_slots
from pipelines.models import Attempt, GpuLease, Queue, Stage, Transition
from pipelines.placement import PATIENCE_S
from pipelines.selectors import waiting_for
from pipelines.services.cancel import cancel_stage
from pipelines.services.delete import delete_pipeline
from pipelines.services.dispatch import dispatch
from pipelines.services.integrity import check
from pipelines.states import STAGE_ACTIVE, StageStatus

from . import builders, racing
from .conftest import Hands

pytestmark = pytest.mark.django_db(transaction=True)

SHOW = "import os; print(os.environ['CUDA_VISIBLE_DEVICES'], os.environ['CUDA_DEVICE_ORDER'], sep=' by ', flush=True)"


@pytest.fixture
def gpu_machine(machine: Host) -> Host:
    """This machine, with four GPUs that a test says it has."""
    Host.objects.update(gpus=cards(4), gpus_by_hand=True)
    machine.refresh_from_db()
    return machine


def cards(count: int, memory_mib: int = 81559) -> list[dict[str, Any]]:
    return [{"index": index, "name": "H100", "memory_mib": memory_mib} for index in range(count)]


def queued(**fields: Any) -> Stage:
    stage: Stage = builders.stage(StageStatus.QUEUED, **{"queued_at": timezone.now(), "kind": "script", **fields})
    return stage


def held() -> list[int]:
    return list(GpuLease.objects.filter(released_at=None).order_by("index").values_list("index", flat=True))


def log_of(hands: Hands, stage: Stage) -> str:
    with open(f"{hands.attempt(stage).folder}/output.log") as file:
        return file.read().strip()


def test_a_run_sees_the_gpus_it_was_given_and_no_others(gpu_machine: Host, hands: Hands) -> None:
    first = hands.script(f"{SHOW}; import time; time.sleep(30)", gpus=1)
    hands.launch(first)
    second = hands.script(SHOW, gpus=2)
    hands.launch(second)
    without = hands.script(SHOW)
    hands.launch(without)
    assert hands.until(second) == hands.until(without) == "completed"
    assert (log_of(hands, first), log_of(hands, second)) == ("0 by PCI_BUS_ID", "1,2 by PCI_BUS_ID")
    assert log_of(hands, without) == "by PCI_BUS_ID"
    assert held() == [0]


def test_gpus_come_free_with_the_end_of_a_run_and_count_for_as_long_as_it_ran(gpu_machine: Host, hands: Hands) -> None:
    stage = hands.script("import time; time.sleep(0.5)", gpus=3)
    hands.launch(stage)
    assert held() == [0, 1, 2]
    assert hands.until(stage) == "completed"
    assert held() == []
    attempt = hands.attempt(stage)
    assert attempt.started_at is not None
    assert attempt.completed_at is not None
    ran = (attempt.completed_at - attempt.started_at).total_seconds()
    assert ran >= 0.5
    assert set(GpuLease.objects.values_list("seconds", flat=True)) == {ran}
    (used,) = gpu_hours(builders.person())
    assert used.gpu_hours == pytest.approx(3 * ran / 3600)
    assert gpu_hours_of(Stage.objects.get(pk=stage.pk)) == pytest.approx(used.gpu_hours, abs=1e-6)


@pytest.mark.parametrize("how", ["fails", "is cancelled", "is lost", "is tried again"])
def test_gpus_come_free_however_a_run_ends(gpu_machine: Host, hands: Hands, how: str) -> None:
    code = "raise SystemExit(1)" if how in ("fails", "is tried again") else "import time; time.sleep(60)"
    stage = hands.script(code, gpus=2, max_retries=1 if how == "is tried again" else 0)
    attempt = hands.launch(stage)
    if how == "is cancelled":
        hands.until(stage, StageStatus.RUNNING)
        cancel_stage(stage.pk, user=builders.person())
    if how == "is lost":
        hands.until(stage, StageStatus.RUNNING)
        attempt.refresh_from_db()
        cut_off(attempt)
    hands.wait(lambda: Attempt.objects.filter(pk=attempt.pk).exclude(outcome="").exists())
    assert held() == []
    assert GpuLease.objects.filter(attempt=attempt, released_at__isnull=False).count() == 2


def cut_off(attempt: Attempt) -> None:
    """The runner goes as in a power cut."""
    assert attempt.handle is not None
    os.kill(attempt.handle["runner_pid"], signal.SIGKILL)


def test_who_waits_says_what_it_needs_and_what_there_is(gpu_machine: Host) -> None:
    queued(name="first", gpus=2)
    four, eight, large = queued(name="four", gpus=4), queued(name="eight", gpus=8), queued(gpus=1, gpu_memory_gib=100)
    labelled = queued(name="labelled", gpus=1, labels="a,b")
    assert dispatch() == 1
    assert [waiting_for(Stage.objects.get(pk=stage.pk)) for stage in (four, eight, large, labelled)] == [
        "needs 4 GPUs, local has 2 free",
        "needs 8 GPUs, local has 4 that would do",
        "needs 1 GPU with 100 GiB, local has 0 that would do",
        "needs a host with these labels: a, b",
    ]


def test_what_asks_for_a_gpu_never_starts_where_there_is_none_and_holds_nobody_up(machine: Host) -> None:
    Queue.objects.filter(name="training").update(slots=2)
    for number in range(130):
        queued(name=f"large-{number}", gpus=1 + number % 3, priority=9)
    queued(name="small")
    assert dispatch() == 1
    assert list(Stage.objects.filter(status=StageStatus.STARTING).values_list("name", flat=True)) == ["small"]
    assert waiting_for(Stage.objects.get(name="large-0")) == "needs 1 GPU, local has none"


def test_a_host_with_the_labels_is_chosen(gpu_machine: Host, tmp_path: Any) -> None:
    other = builders.host("other", root=str(tmp_path), python=gpu_machine.python, gpus=cards(1), labels=["fast", "lab"])
    stage = queued(gpus=1, labels="fast")
    dispatch()
    assert Attempt.objects.get(stage=stage).host == other


def test_an_environment_for_processors_alone_gets_no_gpu(gpu_machine: Host, tmp_path: Any) -> None:
    (tmp_path / "lib/python3.11/site-packages/torch").mkdir(parents=True)
    (tmp_path / "lib/python3.11/site-packages/torch/version.py").write_text("cuda: str | None = None\n")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").symlink_to(gpu_machine.python)
    Host.objects.update(python=str(tmp_path / "bin/python"))
    stage = queued(gpus=1)
    assert dispatch() == 0
    assert "the training environment of local is for processors alone" in waiting_for(Stage.objects.get(pk=stage.pk))


def test_a_large_run_that_has_waited_long_is_not_passed_any_more(gpu_machine: Host) -> None:
    queued(name="running", gpus=1)
    dispatch()
    large = queued(name="large", gpus=4)
    queued(name="small", gpus=1)
    assert dispatch() == 1
    Stage.objects.filter(pk=large.pk).update(queued_at=timezone.now() - timedelta(seconds=PATIENCE_S))
    late = queued(name="late", gpus=1)
    assert dispatch() == 0
    assert "keeps those that are free for who has waited longer" in waiting_for(Stage.objects.get(pk=late.pk))


def test_the_database_gives_no_gpu_twice(gpu_machine: Host) -> None:
    project = builders.project()
    GpuLease.objects.create(host=gpu_machine, index=0, project=project)
    with pytest.raises(IntegrityError):
        GpuLease.objects.create(host=gpu_machine, index=0, project=project)


def test_dispatchers_that_race_give_each_gpu_once(gpu_machine: Host) -> None:
    Queue.objects.filter(name="training").update(slots=50)
    Host.objects.update(slots=100, gpus=cards(9))
    for number in range(20):
        queued(name=f"stage-{number}", gpus=1 + number % 3)
    started: list[int] = []

    def race() -> None:
        try:
            started.append(dispatch())
        finally:
            connection.close()

    threads = [threading.Thread(target=race) for _racer in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    given = Counter(index for gpus in Attempt.objects.values_list("gpus", flat=True) for index in gpus)
    assert max(given.values()) == 1
    assert sorted(given) == held()
    assert sum(started) == Transition.objects.filter(to_status="starting").count() >= 4


def test_runs_come_and_go_and_no_gpu_ever_has_two(gpu_machine: Host) -> None:
    Queue.objects.filter(name="training").update(slots=50)
    Host.objects.update(slots=100)
    for number in range(30):
        queued(name=f"stage-{number}", gpus=1 + number % 3, kind="played")

    def play() -> None:
        for attempt in Attempt.objects.filter(outcome="", stage__status=StageStatus.STARTING)[:3]:
            racing.play(attempt)

    def look() -> None:
        Hands(gpu_machine).look()

    with racing.racers(dispatch, dispatch, play, look) as over:
        for _turn in range(600):
            if over.wait(0.05) or Stage.objects.filter(status="completed").count() == 30:
                break
    assert Stage.objects.filter(status="completed").count() == 30
    assert held() == []
    leases = GpuLease.objects.order_by("taken_at").values_list("index", "taken_at", "released_at")
    assert len(leases) == sum(1 + number % 3 for number in range(30))
    last: dict[int, Any] = {}
    for index, taken, released in leases:
        assert index not in last or last[index] <= taken
        last[index] = released


def test_leases_of_runs_that_are_over_are_found_and_released(gpu_machine: Host, hands: Hands) -> None:
    stage = queued(gpus=1)
    dispatch()
    began = timezone.now() - timedelta(seconds=90)
    Attempt.objects.filter(stage=stage).update(
        outcome="failed", started_at=began, completed_at=began + timedelta(seconds=60)
    )
    GpuLease.objects.create(host=gpu_machine, index=3, project=builders.project())
    told = [sentence for sentence in check() if "was held by nobody" in sentence]
    assert len(told) == 2
    assert held() == []
    assert sorted(GpuLease.objects.values_list("seconds", flat=True)) == [0.0, 60.0]


def test_what_was_used_counts_after_the_run_is_deleted(gpu_machine: Host, hands: Hands) -> None:
    stage = hands.script("pass", gpus=1)
    hands.launch(stage)
    hands.until(stage)
    before = gpu_hours(builders.person())[0].gpu_hours
    delete_pipeline(stage.pipeline, user=builders.person())
    assert gpu_hours(builders.person())[0].gpu_hours == before > 0


def test_stages_without_gpus_cost_no_statement_more(machine: Host) -> None:
    def statements(gpus: list[dict[str, Any]]) -> int:
        Stage.objects.all().delete()
        Host.objects.update(gpus=gpus)
        for number in range(3):
            queued(name=f"stage-{number}")
        with CaptureQueriesContext(connection) as asked:
            dispatch()
        assert not any("gpulease" in query["sql"] for query in asked)
        return len(asked)

    assert statements([]) == statements(cards(8))


def test_people_see_who_has_which_gpu_in_a_constant_number_of_queries(gpu_machine: Host) -> None:
    Queue.objects.filter(name="training").update(slots=9)
    bob = builders.person()

    def look() -> int:
        with CaptureQueriesContext(connection) as asked:
            (found,) = gpu_slots(bob)
            used = [slot.attempt.stage.pipeline.name for slot in found.slots if slot.attempt is not None]
        assert found.used == len(used) == len(held())
        return len(asked)

    queued(gpus=1)
    dispatch()
    one = look()
    queued(gpus=2)
    dispatch()
    assert held() == [0, 1, 2]
    assert look() == one
    assert Stage.objects.filter(status__in=STAGE_ACTIVE).count() == 2
