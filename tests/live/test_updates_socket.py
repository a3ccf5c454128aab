"""`/ws/updates/`: lists and the training environment."""

from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pytest
from pytest_django.fixtures import Settings

from environments.models import Host
from environments.services import hosts
from pipelines.services import setup_host
from pipelines.services.backtests import Asked, create, work
from pipelines.states import StageStatus
from platform_site.common import live
from platform_site.common.models import User
from tests.pipelines import builders
from tests.pipelines.past_runs import past_run

from .conftest import Lines, Run, person


def test_a_row_comes_when_its_run_changes(run: Run, lines: Lines, alice: User) -> None:
    page = lines.page("/ws/updates/?topics=jobs,tasks", alice)
    page.during(0.5)
    run.log_and_sync(3, loss=1)
    row = page.until(lambda html: f"job-row-{run.id}" in html)[-1]
    assert f'<hx-partial hx-target="#job-row-{run.id}" hx-swap="outerMorph">' in row
    run.complete()
    page.until(lambda html: 'data-shape="completed"' in html)


def test_a_page_of_one_pipeline_gets_its_rows_alone(run: Run, lines: Lines, alice: User, tmp_path: Path) -> None:
    other = Run(tmp_path / "other")
    other.path.parent.mkdir()
    page = lines.page(f"/ws/updates/?topics=pipeline:{run.stage.pipeline_id}", alice)
    page.during(0.5)
    other.log_and_sync(1, loss=1)
    run.log_and_sync(1, loss=1)
    seen = "".join(page.during(1.5))
    assert str(run.id) in seen
    assert str(other.id) not in seen


def test_a_change_while_the_page_was_on_its_way_is_sent_on_connect(run: Run, lines: Lines, alice: User) -> None:
    run.complete()
    page = lines.page("/ws/updates/?topics=jobs", alice)
    assert str(run.id) in page.next(timeout=3)


def test_a_program_hears_what_changed(run: Run, lines: Lines, alice: User) -> None:
    pipeline = str(run.stage.pipeline_id)
    line = lines.program(f"/ws/updates/?format=json&topics=pipelines,tasks,pipeline:{pipeline}", alice)
    line.during(0.5)
    run.complete()
    missing = {"pipelines", "tasks", f"pipeline:{pipeline}"}

    def heard(message: dict[str, str]) -> bool:
        if message["type"] == "update":
            assert message["pipeline"] == pipeline
            missing.discard(message["topic"])
        return not missing

    line.until(heard)


def test_the_page_of_back_tests_looks_again_as_one_goes_on(run: Run, lines: Lines, alice: User, tmp_path: Path) -> None:
    past_run(tmp_path / "past", StageStatus.COMPLETED, {"actor/kl_loss": [0.1] * 20})
    made = create(Asked(), alice, by_worker=False)
    page = lines.page("/ws/updates/?topics=backtests", alice)
    program = lines.program("/ws/updates/?format=json&topics=backtests", alice)
    assert "backtests-changed" in page.next(timeout=3), "what changed while the page was on its way"
    program.during(0.5)
    assert work(made.pk)
    assert "backtests-changed" in page.next(timeout=3)
    assert program.next() == {"type": "update", "topic": "backtests", "backtest": str(made.pk)}
    page.during(1.0)
    run.log_and_sync(3, loss=1)
    assert page.during(1.0) == [], "of anything else it hears nothing"


def test_pages_of_hosts_look_again_as_one_is_checked_and_programs_are_told_its_name(lines: Lines, alice: User) -> None:
    builders.project()
    page = lines.page("/ws/updates/?topics=hosts", alice)
    program = lines.program("/ws/updates/?format=json&topics=hosts", alice)
    assert "hosts-changed" in page.next(timeout=3), "what changed while the page was on its way"
    program.during(0.5)
    far = builders.host("far", kind=Host.Kind.RAY, address="http://127.0.0.1:9", root="/mnt/s", python="/opt/python")
    hosts.begin_check(far)
    assert "hosts-changed" in page.next(timeout=3)
    assert program.next() == {"type": "update", "topic": "hosts", "host": "far"}
    page.during(1.0)
    program.during(0.5)
    setup_host.look(far.pk)
    assert "hosts-changed" in page.next(timeout=3), "it is told what came of it"
    assert program.next() == {"type": "update", "topic": "hosts", "host": "far"}


def test_hosts_of_projects_that_one_does_not_see_are_not_told(lines: Lines, alice: User) -> None:
    page = lines.page("/ws/updates/?topics=hosts", alice)
    program = lines.program("/ws/updates/?format=json&topics=hosts", alice)
    page.during(1.0)
    program.during(0.5)
    live.push_on_commit("hosts.999999", host="secret-host")
    assert page.during(1.5) == []
    assert program.during(1.0) == []


def test_the_training_environment_is_told_as_it_gets_ready(
    lines: Lines, alice: User, settings: Settings, tmp_path: Path
) -> None:
    Host.objects.all().delete()
    builders.host()
    settings.CHECKOUT_DIR = tmp_path
    settings.TRAINING_PYTHON = ""
    line = lines.program("/ws/updates/?format=json&topics=environment", alice)
    page = lines.page("/ws/updates/?topics=environment", alice)

    def is_environment(message: Any) -> bool:
        return isinstance(message, dict) and message["type"] == "environment"

    assert line.until(is_environment)[-1]["status"] == "missing"
    assert "training-banner" in page.next()
    folder = tmp_path / ".training"
    folder.mkdir()
    state = {"status": "installing", "percent": 40, "message": "torch", "pid": 1}
    (folder / "state.json").write_bytes(orjson.dumps(state))
    told = line.until(is_environment)[-1]
    assert (told["status"], told["percent"], told["message"]) == ("installing", 40, "torch")
    assert "torch" in page.until(lambda html: "torch" in html)[-1]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("", 4400),
        ("?topics=", 4400),
        ("?topics=everything", 4400),
        ("?topics=pipeline:x", 4400),
        ("?topics=" + ",".join(f"pipeline:{uuid4()}" for _ in range(21)), 4400),
        ("?topics=pipeline:123e4567-e89b-42d3-a456-426614174000", 4404),
        ("?topics=tasks&job=1", 4400),
    ],
)
def test_bad_input_is_told_and_closed(lines: Lines, alice: User, query: str, code: int) -> None:
    seen, closed = lines.program(f"/ws/updates/{query}", alice).close_code()
    assert (closed, seen[0]["type"]) == (code, "error")


def test_without_a_role_it_is_4403(lines: Lines) -> None:
    assert lines.page("/ws/updates/?topics=tasks", person("nobody", None)).close_code()[1] == 4403


def test_a_page_of_pipelines_gets_their_rows(run: Run, lines: Lines, alice: User) -> None:
    page = lines.page("/ws/updates/?topics=pipelines", alice)
    page.during(0.5)
    run.complete()
    pipeline = run.stage.pipeline_id
    row = page.until(lambda html: f"pipeline-row-{pipeline}" in html)[-1]
    assert f'<hx-partial hx-target="#pipeline-row-{pipeline}" hx-swap="outerMorph">' in row
    assert "job-row-" not in row
    assert "formaction" not in row, "a viewer is offered nothing"


def test_a_page_of_one_pipeline_gets_its_head_and_what_changed(run: Run, lines: Lines, alice: User) -> None:
    other = builders.stage(of=run.stage.pipeline, name="other")
    below = builders.stage(of=run.stage.pipeline, name="below", needs=(run.stage,))
    page = lines.page(f"/ws/updates/?topics=pipeline:{run.stage.pipeline_id}", alice)
    page.during(0.5)
    run.complete()
    html = page.until(lambda html: f"node-{run.id}" in html and 'data-shape="completed"' in html)[-1]
    for part in ("pipeline-status", "pipeline-progress", "pipeline-actions", f"stage-row-{run.id}", f"node-{below.pk}"):
        assert f'hx-target="#{part}"' in html
    assert str(other.pk) not in html, "what did not change is not sent"


def test_a_page_of_tasks_is_told_to_look_again(run: Run, lines: Lines, alice: User) -> None:
    page = lines.page("/ws/updates/?topics=tasks", alice)
    page.during(0.5)
    run.complete()
    assert "data-look" in page.until(lambda html: "tasks-changed" in html)[-1]
