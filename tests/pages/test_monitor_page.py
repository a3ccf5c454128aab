"""A run's monitoring page: how its charts look is remembered, its machine, its rows, reading it by hand."""

import json
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils.html import escape
from pytest_django import DjangoAssertNumQueries

from monitoring.services.sync import open_segment
from pipelines.models import ChartLayout
from platform_site import display
from platform_site.common.models import User
from platform_site.common.roles import Role
from tests.browser import world

CHOICE = {
    "chosen": "1",
    "charts": ["val/loss", "train/loss"],
    "columns": "1",
    "smoothing": "0.5",
    "scale": "log",
    "axis": "time",
}


@pytest.fixture
def alice(db: None) -> User:
    return world.person("alice")


@pytest.fixture
def client(alice: User) -> Client:
    client = Client()
    client.force_login(alice)
    return client


@pytest.fixture
def run(alice: User, tmp_path: Path) -> world.Run:
    return world.run("running", root=tmp_path, steps=120, age=timedelta(seconds=30))


def page(client: Client, run: world.Run, path: str = "", **query: Any) -> str:
    answer = client.get(f"/jobs/{run.job.pk}/{path}", query)
    assert answer.status_code == 200
    return answer.content.decode()


def layout(client: Client, run: world.Run) -> Any:
    answer = client.get(f"/jobs/{run.job.pk}/")
    return answer.context["layout"]


def test_a_choice_is_remembered_for_all_runs_of_the_recipe_and_for_its_reader_alone(
    client: Client, run: world.Run, tmp_path: Path
) -> None:
    before = {"charts": None, "columns": 2, "smoothing": 0.0, "scale": "linear", "axis": "step"}
    assert layout(client, run) == before
    for choice in ({**CHOICE, "columns": "2"}, CHOICE):
        assert client.post(f"/jobs/{run.job.pk}/charts/", choice).status_code == 204
    other = world.run("completed", root=tmp_path, steps=3)
    wanted = {"charts": ["val/loss", "train/loss"], "columns": 1, "smoothing": 0.5, "scale": "log", "axis": "time"}
    assert layout(client, other) == wanted
    assert ChartLayout.objects.count() == 1
    viewer = Client()
    viewer.force_login(world.person("victor", Role.VIEWER))
    assert layout(viewer, run) == before
    assert viewer.post(f"/jobs/{run.job.pk}/charts/", {**CHOICE, "chosen": ""}).status_code == 204
    assert layout(viewer, run)["charts"] is None


@pytest.mark.parametrize(
    "change",
    [
        {"columns": "3"},
        {"smoothing": "1"},
        {"smoothing": "NaN"},
        {"scale": "cubic"},
        {"axis": ""},
        {"charts": [f"metric/{n}" for n in range(25)]},
        {"charts": ["x" * 201]},
    ],
)
def test_a_choice_that_makes_no_sense_is_refused(client: Client, run: world.Run, change: dict[str, Any]) -> None:
    assert client.post(f"/jobs/{run.job.pk}/charts/", {**CHOICE, **change}).status_code == 422
    assert not ChartLayout.objects.exists()


def test_the_machine_is_told_and_when_its_disk_is_full(client: Client, run: world.Run) -> None:
    assert "Nothing was measured yet" in page(client, run)
    run.measure(range(1, 31))
    html = page(client, run)
    assert "31.0 GiB of 80.0 GiB" in html
    assert "88.5 GiB free" in html
    assert "full in about" not in html, "too little was measured"
    sample = json.loads(client.get(f"/jobs/{run.job.pk}/").context["machine"].sample)
    assert sample[1]["gpu.1.use_percent"] == 90.0
    run.measure(range(31, 61))
    # 0.05 GiB in 5 s: 87 GiB last 2 h 25 min.
    assert "full in about 2 h" in page(client, run)


def test_a_run_that_ended_fills_no_disk(client: Client, alice: User, tmp_path: Path) -> None:
    run = world.run("completed", root=tmp_path, steps=3)
    run.measure(range(1, 31))
    html = page(client, run)
    assert "88.5 GiB free" in html
    assert "full in about" not in html


def test_what_the_machine_did_costs_the_page_two_queries_however_long_it_ran(
    client: Client, run: world.Run, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_max_num_queries(40) as few:
        page(client, run)
    run.measure(range(1, 200))
    with django_assert_max_num_queries(len(few) + 1):
        page(client, run)


def test_rows_are_paged_by_step(client: Client, run: world.Run) -> None:
    html = page(client, run, "rows/")
    assert html.count('<th scope="row"') == 50
    assert "120 steps" in html
    assert "?from=51" in html
    assert 'rel="prev"' not in html
    last = page(client, run, "rows/", **{"from": 101})
    assert last.count('<th scope="row"') == 20
    assert "?from=51" in last
    assert 'rel="next"' not in last
    assert "No step from there on" in page(client, run, "rows/", **{"from": 121})


@pytest.mark.parametrize("nonsense", ["x", "-1", "1.5", "9" * 40, "१", "<b>"])
def test_what_is_no_step_is_told_and_the_rows_begin_with_the_first(
    client: Client, run: world.Run, nonsense: str
) -> None:
    html = page(client, run, "rows/", **{"from": nonsense})
    assert html.count('<th scope="row"') == 50
    assert f"“{escape(nonsense)}” is no step: give a whole number of at most 15 digits." in html
    assert f'value="{escape(nonsense)}" aria-invalid="true" aria-describedby="no-step"' in html
    for fine in ("", "3", " 3 "):
        assert "is no step" not in page(client, run, "rows/", **{"from": fine})


def test_rows_have_the_exact_values_beside_the_rounded_ones(client: Client, run: world.Run) -> None:
    run.log_step(121, **{"train/loss": 0.123456789012345, "train/lr": 1.23456789e-07, "train/grad_norm": "NaN"})
    run.sync()
    html = page(client, run, "rows/", **{"from": 121})
    for exact, rounded in (("0.123456789012345", "0.1235"), ("1.23456789e-07", "1.235e-7"), ("NaN", "NaN")):
        assert f'<td class="num end" title="{exact}">{rounded}</td>' in html
    assert '<td class="num end">–</td>' in html, "what was not logged has no value to give"


def test_rows_have_the_metrics_that_are_drawn(client: Client, run: world.Run) -> None:
    client.post(f"/jobs/{run.job.pk}/charts/", CHOICE)
    assert client.get(f"/jobs/{run.job.pk}/rows/").context["columns"] == ["val/loss", "train/loss"]
    asked = client.get(f"/jobs/{run.job.pk}/rows/", {"names": ["train/lr", "unheard/of"]})
    assert asked.context["columns"] == ["train/lr"]


def test_rows_say_which_metrics_are_left_out_and_any_can_be_chosen(client: Client, run: world.Run) -> None:
    assert "Columns: all metrics" in page(client, run, "rows/")
    run.log_step(121, **{f"extra/{n:03}": n for n in range(400)})
    run.sync()
    html = page(client, run, "rows/")
    assert "Columns: 12 of 406 metrics" in html
    assert html.count('type="checkbox" name="names"') == 300
    assert html.count(" checked><code>") == 12
    asked = client.get(f"/jobs/{run.job.pk}/rows/", {"names": ["extra/399", "train/loss", "", "nowhere"], "from": 121})
    assert asked.context["columns"] == ["extra/399", "train/loss"]
    html = asked.content.decode()
    assert "Columns: 2 of 406 metrics" in html
    assert "This run logged no metric nowhere." in html
    assert html.count(" checked><code>") == 2
    assert "names=extra%2F399&amp;names=train%2Floss" in page(client, run, "rows/", names=["extra/399", "train/loss"])
    many = page(client, run, "rows/", names=[f"extra/{n:03}" for n in range(31)])
    assert "Columns: 30 of 406 metrics" in many
    assert "At most 30 stand beside each other" in many


def test_rows_of_one_attempt_are_whole(client: Client, run: world.Run, tmp_path: Path) -> None:
    open_segment(run.job.stream_id, attempt=2, path=str(tmp_path / "second_metrics.jsonl"), resumed_from=100)
    assert "100 steps" in page(client, run, "rows/")
    assert "120 steps" in page(client, run, "rows/", attempt=1)
    assert "no attempt" not in page(client, run, "rows/", attempt=1)
    for nonsense in ("7", "x", "<b>", "01"):
        told = page(client, run, "rows/", attempt=nonsense)
        assert f"This run has no attempt “{escape(nonsense)}”: choose one of the list." in told
        assert "100 steps" in told


def test_an_attempt_of_a_run_that_has_one_or_none_is_told(client: Client, run: world.Run, tmp_path: Path) -> None:
    told = page(client, run, "rows/", attempt=2)
    assert "This run has no attempt “2”: it logged in one alone, which is shown." in told
    assert "120 steps" in told
    queued = world.run("queued", root=tmp_path, steps=0)
    assert "This run has no attempt “1” that logged anything." in page(client, queued, "rows/", attempt=1)


def test_names_and_messages_of_the_trainer_are_text(client: Client, run: world.Run) -> None:
    bad = "<script>alert(1)</script>"
    line = {"v": 1, "step": 1, "time": 1e300, "metrics": {bad: 1}, "anomaly": {"type": "x", "message": bad}}
    with run.metrics_file.open("a") as file:
        file.write(json.dumps(line) + "\n")
    run.sync()
    html = page(client, run, "rows/", names=bad)
    assert bad not in html
    assert html.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 2


def test_all_steps_can_be_downloaded(client: Client, run: world.Run) -> None:
    addresses = re.findall(r'href="([^"]+/export/[^"]+)" download', page(client, run))
    assert [address.partition("=")[2] for address in addresses] == ["csv", "json", "parquet"]
    for address in addresses:
        answer = client.get(address)
        assert answer.status_code == 200
        assert answer["Content-Disposition"].startswith("attachment")


def test_a_run_is_read_by_hand(client: Client, run: world.Run) -> None:
    assert run.attempt.started_at is not None
    run.write(range(121, 124), started=run.attempt.started_at)
    told = client.post(f"/jobs/{run.job.pk}/sync/", follow=True).content.decode()
    assert "Read 3 new steps." in told
    assert "There was nothing new." in client.post(f"/jobs/{run.job.pk}/sync/", follow=True).content.decode()


def test_a_run_that_has_not_started_says_so(client: Client, alice: User, tmp_path: Path) -> None:
    run = world.run("queued", root=tmp_path, steps=0)
    run.attempt.delete()
    told = client.post(f"/jobs/{run.job.pk}/sync/", follow=True).content.decode()
    assert "has not started yet" in told
    assert "Read the file now" in page(client, world.run("running", root=tmp_path, steps=1))


@pytest.mark.parametrize(
    ("say", "value", "text"),
    [
        (display.about, None, ""),
        (display.about, 3.0, "1 min"),
        (display.about, 5_000.0, "83 min"),
        (display.about, 10_800.0, "3 h"),
        (display.about, 400_000.0, "5 d"),
        (display.memory_size, None, "–"),
        (display.memory_size, 2.0**20, "1 MiB"),
        (display.memory_size, 80 * 2.0**30, "80.0 GiB"),
        (display.moment, None, "–"),
        (display.moment, 1e300, "–"),
        (display.moment, 0.0, "1970-01-01 00:00:00"),
    ],
)
def test_figures_read_well(say: Callable[[float | None], str], value: float | None, text: str) -> None:
    assert say(value) == text


def test_what_could_not_be_used_is_told_where_the_run_is_looked_at(client: Client, run: world.Run) -> None:
    assert "could not be used" not in page(client, run)
    with run.metrics_file.open("ab") as file:
        file.write(b'{"v": 1, "step": "<b>"}\n' + b"\xff\n")
    run.sync()
    assert "2 lines could not be used." in page(client, run)
    rows = page(client, run, "rows/")
    assert "2 lines could not be used." in rows
    assert "no valid step" in rows
    assert "not UTF-8" in rows
    assert "&quot;step&quot;: &quot;&lt;b&gt;&quot;" in rows


@pytest.mark.parametrize(
    ("warning", "told"),
    [
        ({"code": "not_a_file", "path": "/x/m.jsonl"}, "/x/m.jsonl is no file"),
        ({"code": "too_many_names", "limit": 10000, "refused": 3}, "more than 10000 metrics: 3 further"),
        ({"code": "not_a_metric", "names": ["a", "b"]}, "no numbers: a, b."),
        ({"code": "forgotten", "after_s": 2592000}, "after the 30 days"),
    ],
)
def test_each_warning_of_a_stream_has_a_sentence(
    client: Client, run: world.Run, warning: dict[str, Any], told: str
) -> None:
    run.job.stream.warnings = [warning]
    run.job.stream.save(update_fields=["warnings"])
    assert told in page(client, run)
