"""What the doctor finds, over HTTP."""

import re
from typing import Any

import orjson
import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import translation
from pytest_django import Settings

from monitoring import told
from monitoring.diagnostics.core import Severity
from monitoring.diagnostics.rules import RULES
from monitoring.models import Finding, Stream
from platform_site.common import roles, tokens

from .conftest import Run
from .lines import append, line
from .test_metrics_api import user_with
from .test_the_doctor_reads_every_sync import MakeRun, kl


class Api:
    def __init__(self, run: Run, role: roles.Role) -> None:
        self.base = f"/api/v1/monitoring/{run.stream_id}/"
        scope = "operate" if role is roles.Role.OPERATOR else "read"
        _, key = tokens.issue(user_with(role, role.name), scope=scope, days=1)
        self.client = Client(headers={"authorization": f"Token {key}"})

    def call(self, method: str, path: str, status: int = 200) -> Any:
        response = getattr(self.client, method)(path if path.startswith("/") else self.base + path)
        assert response.status_code == status, response.content
        return orjson.loads(response.content)


@pytest.fixture
def sick(make_run: MakeRun) -> Run:
    run = make_run("grpo")
    Stream.objects.filter(pk=run.stream_id).update(trainer="verl")
    append(run.attempt(), *kl(0.1, 6.0), line(3, **{"actor/grad_norm": "NaN"}))
    run.sync()
    return run


@pytest.fixture
def api(sick: Run) -> Api:
    return Api(sick, roles.Role.OPERATOR)


def test_a_finding_says_what_where_how_much_why_and_what_to_try(api: Api) -> None:
    body = api.call("get", "anomalies/detected/")
    assert body["count"] == 2
    explosion = next(row for row in body["results"] if row["rule"] == "kl_explosion")
    assert explosion == {
        "rule": "kl_explosion",
        "severity": "critical",
        "metric": "actor/kl_loss",
        "attempt": 1,
        "start_step": 2,
        "end_step": 2,
        "open": True,
        "value": 6.0,
        "threshold": 1.0,
        "threshold_from": "default",
        "threshold_runs": None,
        "title": "KL explosion",
        "message": "actor/kl_loss is 6 at step 2: 6.0 times the threshold.",
        "why": RULES["kl_explosion"].why,
        "advice": [advice.template for advice in RULES["kl_explosion"].advice],
        "changes": [
            {"parameter": "actor_rollout_ref.actor.optim.lr", "times": 0.3, "to": None},
            {"parameter": "actor_rollout_ref.actor.use_kl_loss", "times": None, "to": True},
            {"parameter": "actor_rollout_ref.actor.kl_loss_coef", "times": 10.0, "to": None},
        ],
        "lines": [],
    }
    broken = next(row for row in body["results"] if row["rule"] == "nan_inf")
    assert (broken["value"], broken["threshold"], broken["metric"]) == ("NaN", None, "actor/grad_norm")


def test_health_tells_its_parts_and_they_make_the_score(api: Api) -> None:
    assert api.call("get", "health/") == {
        "score": 0,
        "grade": "F",
        "parts": [
            {"rule": "kl_explosion", "severity": "critical", "points": 70},
            {"rule": "nan_inf", "severity": "critical", "points": 70},
        ],
    }


def test_nothing_is_known_before_the_first_step(make_run: MakeRun) -> None:
    api = Api(make_run(), roles.Role.VIEWER)
    assert api.call("get", "health/") == {"score": None, "grade": "", "parts": []}
    assert api.call("get", "anomalies/detected/") == {"count": 0, "results": []}


def test_diagnosing_reads_the_run_anew_and_answers_with_what_it_found(sick: Run, api: Api) -> None:
    Finding.objects.all().delete()
    assert {row["rule"] for row in api.call("post", "diagnose/")["results"]} == {"kl_explosion", "nan_inf"}


def test_a_viewer_reads_and_does_not_diagnose(sick: Run) -> None:
    viewer = Api(sick, roles.Role.VIEWER)
    viewer.call("get", "health/")
    viewer.call("post", "diagnose/", 403)
    viewer.call("post", "/api/v1/monitoring/diagnose-all/", 403)


@pytest.mark.django_db(transaction=True)
def test_all_runs_are_left_to_a_worker(sick: Run, api: Api, make_run: MakeRun) -> None:
    make_run()  # has logged nothing
    assert api.call("post", "/api/v1/monitoring/diagnose-all/", 202) == {"queued": 1}


def test_the_list_costs_the_same_with_many_findings(sick: Run, api: Api) -> None:
    def cost() -> int:
        with CaptureQueriesContext(connection) as queries:
            api.call("get", "anomalies/detected/")
        return len(queries)

    cost()
    few = cost()
    row = Finding.objects.first()
    assert row is not None
    for step in range(1000, 1300):
        row.pk, row.start_step = None, step
        row.save(force_insert=True)
    assert cost() == few + 1, "one more to count what is not shown"
    body = api.call("get", "anomalies/detected/")
    assert (body["count"], len(body["results"])) == (302, 100)


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.name)
def test_every_message_can_be_told_in_every_language(rule: Any, db: None) -> None:
    """What the marks of a rule have to fill in is tried where each is made to fire."""
    for code, template in rule.messages.items():
        params = dict.fromkeys(re.findall(r"%\((\w+)\)", template), 1)
        finding = Finding(
            rule=rule.name, metric="m", start_step=3, end_step=4, severity=Severity.ERROR, value=0.5, threshold=1.0,
            code=code, params=params,
        )  # fmt: skip
        for language in ("en", "zh-hans"):
            with translation.override(language):
                text = told.told(finding, Stream(algorithm="grpo", trainer="verl")).message
            assert text
            assert "%(" not in text


LEARNT = {"runs": 7, "rules": {"kl_explosion": {"runs": 7, "values": {"threshold": 0.5}}}}


@pytest.mark.parametrize(
    ("learnt", "threshold", "source", "runs", "text"),
    [
        (LEARNT, 0.5, "learnt", 7, "The threshold was learnt from 7 healthy runs of this kind."),
        (
            {"runs": 3, "rules": {}}, 1.0, "default", 3,
            "The threshold is the rule's own: of 5 healthy runs of this kind there were 3.",
        ),
        (None, 1.0, "default", None, "The threshold is the rule's own."),
    ],
)  # fmt: skip
def test_a_finding_says_where_its_threshold_comes_from(
    make_run: MakeRun, learnt: Any, threshold: float, source: str, runs: int | None, text: str
) -> None:
    run = make_run("grpo")
    Stream.objects.filter(pk=run.stream_id).update(learnt=learnt)
    append(run.attempt(), *kl(0.1, 1.7), line(3, **{"actor/grad_norm": "NaN"}))
    run.sync()
    api = Api(run, roles.Role.VIEWER)
    nan, kl_found = api.call("get", "anomalies/detected/")["results"]
    assert (kl_found["threshold"], kl_found["threshold_from"], kl_found["threshold_runs"]) == (threshold, source, runs)
    assert (nan["threshold"], nan["threshold_from"], nan["threshold_runs"]) == (None, None, None)
    found = {row["rule"]: row for row in api.call("get", "thresholds/")["results"]}
    assert (found["kl_explosion"]["value"], found["kl_explosion"]["from"]) == (threshold, source)
    assert found["grad_spike"]["from"] == "default"
    assert "loss_plateau" not in found, "it does not read such runs"
    stream = Stream.objects.get(pk=run.stream_id)
    shown = told.told(Finding.objects.get(rule="kl_explosion"), stream)
    assert shown.source is not None
    assert shown.source.text == text


def test_a_threshold_of_the_settings_is_told_as_one(sick: Run, api: Api, settings: Settings) -> None:
    settings.KL_THRESHOLD = 2.0
    found = {(row["rule"], row["limit"]): row for row in api.call("get", "thresholds/")["results"]}
    assert found["kl_explosion", "threshold"] == {
        "rule": "kl_explosion", "limit": "threshold", "value": 2.0, "from": "settings", "runs": None,
    }  # fmt: skip
