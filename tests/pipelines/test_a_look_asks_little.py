"""What a look at a host asks of the database: little a run, less of one that wrote nothing. It says what it brought."""

import json
import time
from pathlib import Path

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from monitoring.models import Stream
from pipelines.folders import run_folder
from pipelines.models import Stage
from pipelines.services import observe

from .conftest import Hands
from .watched import watched

pytestmark = pytest.mark.django_db(transaction=True)

WAITS = """
step(1, **{"actor/kl_loss": 0.1})
time.sleep(60)
"""


def write(hands: Hands, stage: Stage, step: int) -> None:
    line = {"v": 1, "step": step, "time": time.time(), "metrics": {"actor/kl_loss": 0.1}}
    with Path(run_folder(hands.attempt(stage)).metrics).open("a") as file:
        file.write(json.dumps(line) + "\n")


def statements(hands: Hands) -> int:
    with CaptureQueriesContext(connection) as asked:
        observe.observe_host(hands.host.pk)
    return len(asked)


@pytest.mark.parametrize(("wrote", "most"), [(True, 11), (False, 0)])
def test_each_further_run_costs_few_statements(hands: Hands, wrote: bool, most: int) -> None:
    stages: list[Stage] = []
    cost = {}
    for count in (1, 4):
        while len(stages) < count:
            stages.append(watched(hands, WAITS, name=f"run-{len(stages)}"))
            hands.launch(stages[-1])
        hands.wait(lambda: Stream.objects.filter(last_step__gte=1).count() == len(stages))
        hands.look()  # each is called running by now
        for stage in stages if wrote else ():
            write(hands, stage, count + 1)
        cost[count] = statements(hands)
    assert Stream.objects.filter(last_step=5).count() == (4 if wrote else 0)
    assert (cost[4] - cost[1]) / 3 <= most


def test_a_look_sums_up_what_it_brought(hands: Hands, caplog: pytest.LogCaptureFixture) -> None:
    stages = [watched(hands, WAITS, name=f"run-{n}") for n in range(2)]
    for stage in stages:
        hands.launch(stage)
    hands.wait(lambda: Stream.objects.filter(last_step__gte=1).count() == 2)
    write(hands, stages[0], 2)
    write(hands, stages[0], 3)
    caplog.clear()
    with caplog.at_level("INFO", "pipelines.services.reading"):
        hands.look()
        hands.look()
    told = [record.getMessage() for record in caplog.records if "updated_count" in record.getMessage()]
    assert told == [f"Host {hands.host.name}: updated_count=1 total_running=2 total_new_metrics=2 anomaly_count=0"], (
        "and nothing of a look that brought nothing"
    )
