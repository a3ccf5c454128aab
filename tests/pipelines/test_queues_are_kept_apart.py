"""Real workers, one a queue: each is sent the work of its own queue alone, and a full queue holds up no other."""

import sys
from collections.abc import Iterator

import dramatiq
import pytest
from django.conf import settings
from django_dramatiq.middleware import DbConnectionsMiddleware
from dramatiq.middleware import AgeLimit

from environments.models import Host
from pipelines import tasks
from pipelines.kinds import Verdict
from pipelines.models import Attempt, Queue, Stage
from pipelines.services import builtin, finish
from pipelines.services.create import PipelineSpec, StageSpec, create_pipeline
from pipelines.services.dispatch import dispatch
from pipelines.states import StageStatus
from platform_site import valkey
from platform_site.broker import Broker
from tests.harness import wait_until

from . import builders
from .racing import CountedKind

pytestmark = pytest.mark.django_db(transaction=True)

QUEUES = ("training", "evaluation")


class _Received(dramatiq.Middleware):
    """Which task came to which worker: each of these serves one queue."""

    def __init__(self) -> None:
        self.tasks: dict[str, list[str]] = {queue: [] for queue in QUEUES}

    def before_process_message(self, broker: dramatiq.Broker, message: dramatiq.MessageProxy) -> None:
        self.tasks[message.queue_name].append(message.args[0])


@pytest.fixture
def received(valkey_server: valkey.Server) -> Iterator[_Received]:
    """A broker with the platform's own actor for stages, and a worker for each queue; the platform's is back
    afterwards."""
    before = dramatiq.get_broker()
    seen = _Received()
    broker = Broker(url=settings.REDIS_URL, middleware=[AgeLimit(), DbConnectionsMiddleware(), seen])
    dramatiq.set_broker(broker)
    actor = tasks.launch_attempt
    dramatiq.actor(actor_name=actor.actor_name, queue_name=actor.queue_name, broker=broker)(actor.fn)
    workers = []
    for queue in QUEUES:
        broker.declare_queue(queue)
        workers.append(dramatiq.Worker(broker, queues={queue}, worker_threads=1, worker_timeout=1000))
    for worker in workers:
        worker.start()
    yield seen
    for worker in workers:
        worker.stop(timeout=5000)
    broker.close()
    dramatiq.set_broker(before)


def test_trainings_and_evaluations_wait_in_their_own_queues_each_with_a_task_of_its_own(machine: Host) -> None:
    builtin.install()
    Host.objects.update(python=sys.executable)
    evaluation = {"suite": "arithmetic-eval", "model": "builtin:tiny-llama"}
    spec = PipelineSpec(
        "p",
        [StageSpec(f"train-{at}", "train_model", {"recipe": "tiny-sft"}) for at in range(3)]
        + [StageSpec(f"eval-{at}", "run_evaluation", evaluation) for at in range(3)],
    )
    pipeline = create_pipeline(user=builders.person(), spec=spec, start=True)
    queues = {"train_model": "training", "run_evaluation": "evaluation"}
    stages = list(Stage.objects.filter(pipeline=pipeline, status=StageStatus.QUEUED))
    assert len(stages) == 6
    assert all(stage.queue == queues[stage.kind] for stage in stages)
    assert Attempt.objects.filter(stage__in=stages, outcome="").count() == 6


def test_a_full_training_queue_holds_up_no_evaluation(machine: Host, received: _Received) -> None:
    Queue.objects.update(slots=2)
    Host.objects.update(slots=4)
    pipeline = builders.pipeline()
    for queue in QUEUES:
        for number in range(6):
            builders.stage(
                StageStatus.QUEUED, of=pipeline, name=f"{queue}-{number}", queue=queue, kind=CountedKind.name
            )
    # Two trainings that have no end fill their queue.
    for number in range(2):
        builders.stage(StageStatus.RUNNING, of=pipeline, name=f"long-{number}", kind="played", host=machine)
    evaluations = Stage.objects.filter(queue="evaluation")
    trainings = Stage.objects.filter(queue="training", kind=CountedKind.name)

    assert dispatch() == 2
    wait_until(lambda: evaluations.filter(status=StageStatus.COMPLETED).count() == 6)
    assert set(trainings.values_list("status", flat=True)) == {"queued"}
    assert received.tasks["training"] == []

    for attempt in Attempt.objects.filter(stage__kind="played").select_related("stage"):
        assert finish.complete(attempt, Verdict(True), {})
    dispatch()
    wait_until(lambda: trainings.filter(status=StageStatus.COMPLETED).count() == 6)
    for queue, stages in (("training", trainings), ("evaluation", evaluations)):
        own = {str(pk) for pk in Attempt.objects.filter(stage__in=stages).values_list("pk", flat=True)}
        assert len(own) == 6
        assert received.tasks[queue]
        assert set(received.tasks[queue]) <= own
