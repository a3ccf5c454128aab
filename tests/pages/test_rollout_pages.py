"""The page of rollouts in each state: what is shown, what is said, and that text stays text."""

import os
import re
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from environments.models import Host
from tests.browser import world

from . import rollout_runs as by_reward

pytestmark = pytest.mark.django_db

Read = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path) -> world.Run:
    return by_reward.run(root=tmp_path)


@pytest.fixture
def read(vera: Client, run: world.Run) -> Read:
    def page(**query: Any) -> str:
        answer = vera.get(f"/jobs/{run.job.pk}/rollouts/", query)
        assert answer.status_code == 200
        html = answer.content.decode()
        return html[html.index("<main") : html.index("</main>")]

    return page


def test_the_newest_step_is_shown_with_its_groups(run: world.Run, read: Read) -> None:
    by_reward.write(run, 1, [[0.0]])
    by_reward.write(run, 2, [[0.0, 1.0], [1.0, 1.0]], parts={"exact_match": 1.0, "format": 0.5})
    by_reward.look(run)
    html = read()
    assert "Step 2" in html
    assert "4 answers" in html
    assert "to 2 prompts" in html
    assert "What is 1 plus 1?" in html
    assert "answer 1 to 0, worth 1.0" in html
    assert re.search(r"<bdi>format</bdi> <b>0.5</b>", html)
    assert html.count("all the same") == 1
    assert "42" in html, "what is right stands beside what was answered"


def test_a_step_is_chosen_and_one_that_is_not_there_is_the_one_before(run: world.Run, read: Read) -> None:
    for step in (2, 4, 6):
        by_reward.write(run, step, [[float(step)]])
    by_reward.look(run)
    assert "worth 4.0" in read(step=4)
    assert "worth 4.0" in read(step=5)
    assert "worth 2.0" in read(step=1)
    assert "worth 6.0" in read(step=10**18)
    assert "worth 6.0" in read(step="x")
    middle = read(step=4)
    assert re.search(r'href="\?step=2"[^>]* data-previous', middle)
    assert re.search(r'href="\?step=6"[^>]* data-next', middle)
    assert "2 of 3" in middle


def test_the_filter_by_reward_keeps_what_matches(run: world.Run, read: Read) -> None:
    by_reward.write(run, 1, [[0.0, 1.0], [0.5, 0.5], [1.0, "NaN"]])
    by_reward.look(run)
    html = read(min="0.9")
    assert "worth 1.0" in html
    assert "worth 0.5" not in html
    assert "1 of 2 answers" in html
    assert "2 of 6 answers" in html
    assert "worth NaN" not in html
    assert "worth NaN" in read()
    assert "1 reward is no number" in read()
    nothing = read(min=7)
    assert "No answer matches" in nothing
    assert "Clear the filter" in nothing


def test_a_filter_that_is_no_number_is_told_at_its_field(run: world.Run, read: Read) -> None:
    by_reward.write(run, 1, [[0.0]])
    by_reward.look(run)
    html = read(min="much")
    assert "Give a number." in html
    assert html.count('aria-invalid="true"') == 1
    assert "worth 0.0" in html


def test_groups_are_put_in_order(run: world.Run, read: Read) -> None:
    by_reward.write(run, 1, [[1.0, 1.0], [0.0, 0.0], [0.0, 1.0]])
    by_reward.look(run)
    for sort, expected in {"": "012", "reward": "120", "-reward": "021", "-spread": "201", "nonsense": "012"}.items():
        assert "".join(re.findall(r'id="group-(\d)"', read(sort=sort))) == expected


def test_one_prompt_alone_and_pages_of_many(run: world.Run, read: Read) -> None:
    by_reward.write(run, 1, [[float(n)] for n in range(20)])
    by_reward.look(run)
    assert len(re.findall(r'id="group-\d+"', read())) == 8
    assert "1–8 of 20" in read()
    assert re.findall(r'id="group-(\d+)"', read(page=3)) == ["16", "17", "18", "19"]
    assert re.findall(r'id="group-(\d+)"', read(group=7)) == ["7"]


HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)> \"'&amp; {{ job.name }} </textarea>\u202egnirts"


def test_what_a_model_wrote_is_text_and_nothing_but_text(run: world.Run, read: Read) -> None:
    fields = {
        "prompt": [{"role": HOSTILE, "content": HOSTILE}, {"role": "user", "content": [{"type": HOSTILE}]}],
        "response": HOSTILE,
        "answer": {HOSTILE: HOSTILE},
        "parts": {HOSTILE: 1.0},
    }
    path = by_reward.write(run, 1, [[1.0]], **fields)
    path.write_bytes(path.read_bytes() + f'{{"v": 1, "{HOSTILE}'.encode())
    by_reward.look(run)
    html = read()
    assert html.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 4
    for markup in ("<script", "<img", "onerror=alert(1)>", "</textarea>"):
        assert markup not in html
    assert "\u202e" not in html, "nothing turns the direction of what stands beside it"
    assert "⟨U+202E⟩gnirts" in html


def test_a_long_answer_shows_its_beginning_and_its_end(run: world.Run, read: Read) -> None:
    response = "BEGIN " + "and so on " * 300 + "END"
    by_reward.write(run, 1, [[1.0]], response=response)
    by_reward.look(run)
    html = read()
    said = re.search(r'<div class="said" dir="auto">(BEGIN.*?)</div>', html, re.S)
    assert said is not None
    assert said[1].rstrip().endswith("END")
    assert "more characters" in said[1]
    shown = re.sub(r"<summary>.*?</summary>|<[^>]+>", "", said[1], flags=re.S)
    assert shown == response


def test_an_answer_as_long_as_a_book_is_cut_where_there_are_many_and_whole_alone(run: world.Run, read: Read) -> None:
    by_reward.write(run, 1, [[1.0]], response="x" * 100_000)
    by_reward.look(run)
    many, alone = read(), read(group=0)
    assert "80000 characters are left out here." in many
    assert len(many) < 60_000
    assert "left out" not in alone
    assert alone.count("x") > 100_000


def test_before_the_first_step_a_run_says_what_will_come(run: world.Run, read: Read) -> None:
    assert "No answers yet" in read()
    assert "data-nothing" in read()


def test_a_run_that_kept_none_says_so(vera: Client, tmp_path: Path) -> None:
    ended = by_reward.run("failed", root=tmp_path)
    assert "No answers were kept" in vera.get(f"/jobs/{ended.job.pk}/rollouts/").content.decode()


@pytest.mark.parametrize("instead", ["nothing", "a pipe", "a link", "a folder"])
def test_a_step_that_cannot_be_read_says_why_and_the_others_stay(
    run: world.Run, read: Read, tmp_path: Path, instead: str
) -> None:
    by_reward.write(run, 1, [[0.0]])
    path = by_reward.write(run, 2, [[1.0]])
    by_reward.look(run)
    path.unlink()
    if instead == "a pipe":
        os.mkfifo(path)
    elif instead == "a link":
        secret = tmp_path / "secret_key"
        secret.write_text("the key")
        path.symlink_to(secret)
    elif instead == "a folder":
        path.mkdir()
    html = read()
    assert "The answers cannot be shown" in html
    assert ("is gone from host local" if instead == "nothing" else "on host local cannot be read") in html
    assert "the key" not in html
    assert str(tmp_path) not in html
    assert "1 answer" in html, "its figures are known from before"
    assert "worth 0.0" in read(step=1)


def test_lines_that_are_no_samples_are_told(run: world.Run, read: Read) -> None:
    path = by_reward.write(run, 1, [[1.0]])
    path.write_bytes(path.read_bytes() + b"garbage\n")
    by_reward.look(run)
    html = read()
    assert "1 line of the file is no sample of this step" in html
    assert "line 2: not JSON" in html
    assert "worth 1.0" in html


def test_what_a_file_says_now_is_shown_and_kept(run: world.Run, read: Read) -> None:
    by_reward.write(run, 1, [[0.0]])
    by_reward.look(run)
    by_reward.write(run, 1, [[1.0, 1.0]])
    assert "2 answers" in read()
    again = read()
    assert re.search(r'<td class="num end">1</td>', again), "the table follows the file"


def test_after_a_retry_the_newer_is_shown_and_the_older_can_be_reached(run: world.Run, read: Read) -> None:
    for step in (1, 2, 3):
        by_reward.write(run, step, [[0.0]])
    by_reward.look(run)
    second = by_reward.again(run, resumed_from=1)
    by_reward.write(second, 2, [[1.0]])
    by_reward.look(second)
    html = read()
    assert "Step 2" in html
    assert "worth 1.0" in html, "step 3 of the first attempt never became part of the model"
    assert "attempt 2" in html
    assert re.search(r'href="\?attempt=1"', html)
    first = read(attempt=1)
    assert "Step 3" in first
    assert "worth 0.0" in first
    assert "worth 0.0" in read(attempt=1, step=2)
    assert "Also logged by" in read(step=2)
    assert "worth 0.0" in read(step=1), "what was before the checkpoint still counts"


def test_an_attempt_without_answers_yet_leads_to_those_before(run: world.Run, read: Read) -> None:
    by_reward.write(run, 1, [[0.0]])
    by_reward.look(run)
    by_reward.again(run, resumed_from=None)
    html = read()
    assert "Nothing of this attempt yet" in html
    assert "worth 0.0" in read(attempt=1)


def test_the_tab_is_there_only_where_answers_are_or_will_be(vera: Client, run: world.Run, tmp_path: Path) -> None:
    assert f'href="/jobs/{run.job.pk}/rollouts/"' in vera.get(f"/jobs/{run.job.pk}/").content.decode()
    sft = world.run("running", root=tmp_path, steps=0)
    assert "/rollouts/" not in vera.get(f"/jobs/{sft.job.pk}/").content.decode()


def test_there_is_none_of_a_run_that_does_not_exist(vera: Client) -> None:
    assert vera.get(f"/jobs/{uuid.uuid4()}/rollouts/").status_code == 404


def test_a_host_that_was_removed_meanwhile_is_no_error(run: world.Run, read: Read) -> None:
    by_reward.write(run, 1, [[0.0]])
    by_reward.look(run)
    type(run.attempt).objects.filter(pk=run.attempt.pk).update(host=None)
    assert Host.objects.exists()
    assert "The answers cannot be shown" in read()


def test_queries_do_not_depend_on_how_much_there_is(vera: Client, tmp_path: Path) -> None:
    counts = []
    for steps, groups in ((2, 1), (60, 6)):
        run = by_reward.run(root=tmp_path / str(steps))
        for step in range(1, steps + 1):
            by_reward.write(run, step, [[0.0, 1.0]] * groups)
        for _ in range(3):
            by_reward.look(run)
        with CaptureQueriesContext(
            connection,
        ) as queries:
            vera.get(f"/jobs/{run.job.pk}/rollouts/")
        counts.append(len(queries))
    assert counts[0] == counts[1]
    assert counts[0] <= 24
