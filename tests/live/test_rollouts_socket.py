"""An open page of rollouts is told of new steps, and of nothing else."""

import re
import uuid
from pathlib import Path
from typing import Any

import pytest

from environments.transports.local import LocalTransport
from monitoring.services.rollouts import index_rollouts
from tests.monitoring.rollout_files import write

from .conftest import Lines, Run, person

pytestmark = pytest.mark.django_db(transaction=True)


class Answers:
    def __init__(self, run: Run, folder: Path) -> None:
        self.run, self.folder = run, folder

    def step(self, step: int, reward: float = 1.0) -> None:
        write(self.folder, step, [[reward]])
        index_rollouts(self.run.id, 1, str(self.folder), LocalTransport())


@pytest.fixture
def answers(run: Run, tmp_path: Path) -> Answers:
    return Answers(run, tmp_path / "rollouts")


def newest(message: Any) -> int:
    found = re.search(r'data-newest="(\d+)"', message)
    return int(found[1]) if found else 0


def test_a_page_gets_everything_at_first_and_then_each_new_step(run: Run, answers: Answers, lines: Lines) -> None:
    answers.step(1)
    line = lines.page(f"/ws/monitoring/{run.id}/rollouts/", person("alice"))
    first = line.next()
    for target in ("#job-status", "#rollout-curve", "#rollout-news"):
        assert f'hx-target="{target}"' in first
    assert newest(first) == 1
    answers.step(2, 0.25)
    second = line.until(lambda message: newest(message) == 2)[-1]
    assert "0.25" in second
    assert "data-version" in second


def test_metrics_alone_say_nothing_new(run: Run, answers: Answers, lines: Lines) -> None:
    answers.step(1)
    line = lines.page(f"/ws/monitoring/{run.id}/rollouts/", person("alice"))
    line.until(lambda message: newest(message) == 1)
    run.log_and_sync(1, loss=0.5)
    assert line.during(1.2) == []
    run.complete()
    assert "Completed" in line.next()


def test_each_reader_is_told_in_their_language(run: Run, answers: Answers, lines: Lines) -> None:
    answers.step(1)
    alice = person("alice")
    english = lines.page(f"/ws/monitoring/{run.id}/rollouts/", alice)
    chinese = lines.page(f"/ws/monitoring/{run.id}/rollouts/", alice, language="zh-hans")
    assert "Running" in english.next()
    assert "Running" not in chinese.next()


def test_programs_are_led_to_the_api_and_strangers_away(run: Run, lines: Lines) -> None:
    said, code = lines.program(f"/ws/monitoring/{run.id}/rollouts/?format=json", person("bob")).close_code()
    assert code == 4400
    assert "API" in said[-1]["message"]
    assert lines.program(f"/ws/monitoring/{uuid.uuid4()}/rollouts/", person("carol")).close_code()[1] == 4404
    assert lines.program(f"/ws/monitoring/{run.id}/rollouts/").close_code()[1] == 4403
