"""Back-tests on pages and over the API: asked for, followed, read, forgotten."""

import re
from pathlib import Path

import pytest
from django.test import Client

from pipelines.models import Backtest, Job
from pipelines.services.backtests import Asked, create, work
from pipelines.states import StageStatus
from platform_site.common.roles import Role
from tests.browser import world
from tests.people import bob, program
from tests.pipelines import builders
from tests.pipelines.past_runs import past_run

from .looks import queries

pytestmark = pytest.mark.django_db

EXPLODES = {"actor/kl_loss": [*[0.1] * 10, 3.0, *[6.0] * 9]}
HEALTHY = {"actor/kl_loss": [0.1] * 20}


@pytest.fixture
def past(tmp_path: Path) -> None:
    past_run(tmp_path, StageStatus.FAILED, EXPLODES, name="It <broke>", gpus=2)
    past_run(tmp_path, StageStatus.COMPLETED, EXPLODES, name="It did not")
    past_run(tmp_path, StageStatus.COMPLETED, HEALTHY)


def done() -> Backtest:
    made = create(Asked(), builders.person())
    assert work(made.pk)
    return made


@pytest.mark.usefixtures("past")
def test_one_is_asked_for_by_a_form_and_read_on_its_page(alice: Client) -> None:
    answer = alice.post(
        "/backtests/new/",
        {
            "name": "Half <the> limit",
            "rules": ["kl_explosion"],
            "limits": "kl_explosion.threshold = 0.5\n",
            "least": "error",
            "most": "10",
        },
    )
    made = Backtest.objects.get()
    assert (answer.status_code, answer["Location"]) == (302, f"/backtests/{made.pk}/")
    assert (made.rules, made.limits, made.learnt) == (["kl_explosion"], {"kl_explosion": {"threshold": 0.5}}, False)
    waiting = alice.get(f"/backtests/{made.pk}/").content.decode()
    assert "0 of 3 runs, 0 steps" in waiting
    assert work(made.pk)
    html = alice.get(f"/backtests/{made.pk}/").content.decode()
    assert "It &lt;broke&gt;" in html
    assert "step 11, 9 before the end" in html
    assert html.count("<b>False alarm</b>") == 1
    assert "<h1>Half &lt;the&gt; limit" in html
    assert "<code>kl_explosion.threshold</code>" in html
    assert "(the rule's own: 1.0)" in html
    assert "topics=backtests" not in html, "nothing changes any more"
    assert f'href="/backtests/{made.pk}/"' in alice.get("/backtests/").content.decode()


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("limits", "nonsense", "is not of the form rule.limit=number"),
        ("limits", "truncation.nonsense = 1", "There is no limit"),
        ("most", "501", "less than or equal to 500"),
        ("rules", "stall", "Select a valid choice"),
        ("name", "x" * 101, "at most 100 characters"),
    ],
)
@pytest.mark.usefixtures("past")
def test_what_is_wrong_stands_in_the_form(alice: Client, field: str, value: str, told: str) -> None:
    answer = alice.post("/backtests/new/", {"least": "error", "most": "10", field: value})
    assert answer.status_code == 422
    assert told in answer.content.decode()
    assert not Backtest.objects.exists()


@pytest.mark.usefixtures("past")
@pytest.mark.parametrize("lines", ["first\nsecond", "nan_inf.first=1\ntruncation.second=1"])
def test_all_wrong_limits_are_told_at_once(alice: Client, lines: str) -> None:
    html = alice.post("/backtests/new/", {"least": "error", "most": "10", "limits": lines}).content.decode()
    assert re.search("“[a-z_.]*first”.*“[a-z_.]*second”", html)


def test_without_runs_the_form_says_so(alice: Client) -> None:
    assert "No run that has ended" in alice.post("/backtests/new/", {"least": "error", "most": "5"}).content.decode()
    assert "No back-tests yet" in alice.get("/backtests/").content.decode()


@pytest.mark.usefixtures("past")
def test_one_without_a_name_is_called_by_its_rules_and_runs(alice: Client) -> None:
    made = create(Asked(rules=["nan_inf"]), builders.person())
    for address in ("/backtests/", f"/backtests/{made.pk}/", f"/backtests/{made.pk}/delete/"):
        assert "1 rule, 3 runs" in alice.get(address).content.decode()


@pytest.mark.usefixtures("past")
def test_it_is_deleted_after_asking_and_its_runs_stay(alice: Client) -> None:
    made = done()
    assert "Delete for good" in alice.get(f"/backtests/{made.pk}/delete/").content.decode()
    assert alice.post(f"/backtests/{made.pk}/delete/").status_code == 302
    assert not Backtest.objects.exists()
    assert "It did not" in alice.get("/jobs/").content.decode()


@pytest.mark.usefixtures("past")
def test_pages_take_as_many_queries_for_many_as_for_one(alice: Client) -> None:
    made = done()
    counts = []
    for _ in range(2):
        counts.append([queries(alice, "/backtests/"), queries(alice, f"/backtests/{made.pk}/")])
        for _n in range(4):
            done()
    assert counts[0] == counts[1]


@pytest.mark.usefixtures("past")
def test_a_run_is_called_good_or_bad_in_its_row_and_counted_at_once(alice: Client) -> None:
    made = done()
    page = f"/backtests/{made.pk}/"
    html = alice.get(page).content.decode()
    job = Job.objects.get(name="It did not")
    assert "Call it bad: It did not" in html
    assert "Call it good: It did not" not in html, "it counts as such"
    assert "Call it good: It &lt;broke&gt;" in html
    answer = alice.post(f"/jobs/{job.pk}/judge/", {"judged": "bad", "backtest": made.pk, "page": 1})
    assert (answer.status_code, answer["Location"]) == (302, f"{page}?page=1#run-{job.pk}")
    html = alice.get(page).content.decode()
    assert "Called bad" in html
    assert "Take back: It did not" in html
    assert "<b>False alarm</b>" not in html
    total = Backtest.objects.get().result["total"]
    assert (total["caught"], total["broken"]) == (2, 2)
    for nonsense in ({"backtest": "x"}, {"backtest": made.pk, "page": "//evil"}, {}):
        answer = alice.post(f"/jobs/{job.pk}/judge/", {"judged": "", **nonsense})
        assert answer["Location"] == f"/jobs/{job.pk}/#job-health"
    assert Job.objects.get(pk=job.pk).judged == ""
    viewer = Client()
    viewer.force_login(world.person("vera", Role.VIEWER))
    assert "Call it" not in viewer.get(page).content.decode()
    assert viewer.post(f"/jobs/{job.pk}/judge/", {"judged": "bad"}).status_code == 403


@pytest.mark.usefixtures("past")
def test_a_run_is_called_good_or_bad_on_its_page(alice: Client) -> None:
    job = Job.objects.get(name="It did not")
    page = f"/jobs/{job.pk}/"
    html = alice.get(page).content.decode()
    assert html.count('form="judge-form"') == 2
    assert "Called" not in html
    alice.post(f"{page}judge/", {"judged": "good"})
    html = alice.get(page).content.decode()
    assert "Called good" in html
    assert html.count('form="judge-form"') == 1, "it can be taken back"
    viewer = Client()
    viewer.force_login(world.person("vera", Role.VIEWER))
    html = viewer.get(page).content.decode()
    assert "Called good" in html
    assert "judge-form" not in html
    refused = alice.post(f"{page}judge/", {"judged": "so-so"}, follow=True).content.decode()
    assert "A run is called good or bad, or neither" in refused


@pytest.mark.usefixtures("past")
def test_the_api_takes_tells_and_forgets_one() -> None:
    client = program(bob(), "operate")
    asked = {
        "name": "Twice",
        "rules": ["kl_explosion", "nan_inf"],
        "limits": {"kl_explosion": {"threshold": 2}},
        "algorithm": "grpo",
    }
    answer = client.post("/api/v1/backtests/", asked, format="json")
    assert answer.status_code == 201
    body = answer.json()
    assert (body["state"], body["runs"], body["runs_read"], body["result"]) == ("queued", 3, 0, None)
    assert body["name"] == "Twice"
    assert (body["limits"], body["created_by"]) == ({"kl_explosion": {"threshold": 2.0}}, "bob")
    where = f"/api/v1/backtests/{body['uuid']}/"
    assert work(Backtest.objects.get().pk)
    told = client.get(where).json()
    assert (told["state"], told["runs_read"], told["steps"]) == ("completed", 3, 60)
    assert told["result"]["total"]["caught"] == told["result"]["total"]["false_alarms"] == 1
    runs = client.get(f"{where}runs/").json()
    assert runs["count"] == 3
    assert sorted(run["ended"] for run in runs["results"]) == ["failed", "healthy", "healthy"]
    found = next(run for run in runs["results"] if run["ended"] == "failed")["found"]
    assert (found[0]["rule"], found[0]["acted_step"], found[0]["threshold"]) == ("kl_explosion", 12, 2.0)
    assert client.delete(where).status_code == 204
    assert client.get(where).status_code == 404


@pytest.mark.usefixtures("past")
def test_the_api_refuses_by_field() -> None:
    client = program(bob(), "operate")
    for asked, code in (({"rules": ["stall"]}, 422), ({"most": 501}, 400), ({"nonsense": 1}, 400)):
        answer = client.post("/api/v1/backtests/", asked, format="json")
        assert (answer.status_code, *answer.json()["error"]["fields"]) == (code, *asked)
