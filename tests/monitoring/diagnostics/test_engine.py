"""However the steps come, the findings are the same; what is remembered of a run stays small."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import monitoring.diagnostics.rules as folder
from monitoring.diagnostics.core import Finding, Sample, Severity
from monitoring.diagnostics.engine import MOST_FINDINGS, State, advance
from monitoring.diagnostics.health import Health, Part, grade, health
from monitoring.diagnostics.rules import RULES, rules_for
from monitoring.diagnostics.rules.stall import RULE as STALL

from .series import diagnosed, healthy, of_rule, samples

KL = "actor/kl_loss"


@settings(max_examples=12)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=20))
def test_findings_do_not_depend_on_how_many_steps_come_at_a_time(cuts: list[int]) -> None:
    run = healthy("grpo", 3, 150)
    for at in (60, 61, 100):
        run[at] = run[at]._replace(values={**run[at].values, KL: 9.0, "actor/grad_norm": "NaN"})
    rules, state, found, at, i = rules_for("grpo"), State(), {}, 0, 0
    while at < len(run):
        seen = advance(state, run[at : at + cuts[i % len(cuts)]], rules)
        state, at, i = seen.state, at + cuts[i % len(cuts)], i + 1
        found |= {finding.key: finding for finding in seen.findings}
    assert found == diagnosed("grpo", run, batch=len(run))
    assert len(of_rule(found, "kl_explosion")) == 2


def test_a_finding_ends_after_quiet_points_and_a_new_one_begins() -> None:
    values = [0.1, 2.0, 0.1, 3.0, *[0.1] * 5, 2.5, *[0.1] * 9]
    first, second = of_rule(diagnosed("grpo", samples({KL: values})), "kl_explosion")
    assert (first.start_step, first.end_step, first.open, first.value) == (2, 4, False, 3.0)
    assert (second.start_step, second.end_step, second.open) == (10, 10, False)


def test_a_finding_tells_of_its_worst_mark() -> None:
    (finding,) = of_rule(diagnosed("grpo", samples({KL: [1.5, 6.0, 9.0, 7.0, 1.1]})), "kl_explosion")
    assert (finding.severity, finding.value, finding.start_step, finding.end_step) == (Severity.CRITICAL, 9.0, 1, 5)
    assert finding.open


def test_what_flickers_for_ever_does_not_fill_the_database() -> None:
    values = ([2.0] + [0.1] * 5) * (MOST_FINDINGS * 3)
    found = of_rule(diagnosed("grpo", samples({KL: values}), batch=100), "kl_explosion")
    assert len(found) == MOST_FINDINGS
    assert max(finding.end_step for finding in found) == len(values) - 5


def test_a_second_line_of_the_last_step_is_read_for_what_the_first_had_not() -> None:
    rules = rules_for("sft")
    first = advance(State(), [Sample(1, 0.0, {"train/loss": 1.0})], rules)
    second = advance(first.state, [Sample(1, 0.1, {"train/loss": "NaN", "val/loss": "NaN"})], rules)
    assert [finding.metric for finding in second.findings] == ["val/loss"]
    assert not second.late
    assert advance(second.state, [Sample(1, 0.1, {"val/loss": "NaN"})], rules).findings == ()


def test_a_step_before_the_last_is_late_and_changes_nothing() -> None:
    rules = rules_for("sft")
    state = advance(State(), samples({"train/loss": [1.0, 0.9, 0.8]}), rules).state
    seen = advance(state, [Sample(2, 0.0, {"train/loss": "NaN"})], rules)
    assert (seen.state, seen.findings, seen.late) == (state, (), True)


def test_metrics_may_come_and_go() -> None:
    columns = {"train/loss": [1.0, None, 0.9], "train/grad_norm": [None, "NaN", None]}
    assert [finding.start_step for finding in diagnosed("sft", samples(columns), batch=1).values()] == [2]


def test_a_state_of_other_rules_is_not_taken_up() -> None:
    rules = rules_for("grpo")
    body = advance(State(), samples({KL: [0.1]}), rules).state.to_json()
    assert State.from_json(body, rules) is not None
    assert State.from_json({**body, "version": 0}, rules) is None
    assert State.from_json(body, rules_for("sft")) is None


def test_what_is_remembered_does_not_grow_with_the_run() -> None:
    rules, sizes = rules_for("grpo"), []
    state = State()
    for start in range(0, 6000, 200):
        part = [sample._replace(step=start + i + 1) for i, sample in enumerate(healthy("grpo", start, 200))]
        state = advance(state, part, rules).state
        sizes.append(len(json.dumps(state.to_json())))
    assert max(sizes[10:]) < 1.3 * sizes[9]
    assert max(sizes) < 16_000


def test_a_step_costs_the_same_after_a_million_steps() -> None:
    """Of a state that says so: what was read before is in it, and nothing else is looked at."""
    rules = rules_for("grpo")
    early = advance(State(), healthy("grpo", 1, 1000), rules).state
    many, later = early, [s._replace(step=s.step + 1000) for s in healthy("grpo", 2, 2000)]
    for _ in range(3):
        many = advance(many, later, rules).state
        later = [s._replace(step=s.step + 330_000) for s in later]
    costs = {}
    for name, state in (("early", early), ("late", many)):
        steps = [s._replace(step=state.upto + s.step) for s in healthy("grpo", 5, 50)]
        calls = 0

        def count(_frame: object, event: str, _arg: object) -> None:
            nonlocal calls
            calls += event in ("call", "c_call")

        sys.setprofile(count)
        try:
            for step in steps:
                advance(state, [step], rules)
        finally:
            sys.setprofile(None)
        costs[name] = calls
    assert costs["late"] < 1.2 * costs["early"]


def test_rules_are_found_by_their_files() -> None:
    files = {path.stem for path in Path(folder.__path__[0]).glob("*.py")} - {"__init__"}
    assert files == set(RULES) == {rule.name for rule in RULES.values()}


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.name)
def test_a_rule_says_what_is_wrong_why_and_what_to_try(rule: object) -> None:
    told = RULES[rule.name]  # type: ignore[attr-defined]
    assert all((told.title, told.why, told.messages, told.advice))
    assert {*told.cases, *(code for advice in told.advice for code in advice.codes)} <= set(told.messages)
    assert all(any(advice.concerns(code) for advice in told.advice) for code in told.messages)


FINDING = Finding("grad_spike", "train/grad_norm", 10, 10, Severity.WARNING, 8.0, 4.0)


def test_a_run_without_findings_is_whole() -> None:
    assert health([], 100) == Health(100, ())


def test_each_rule_counts_once_and_the_parts_make_the_score() -> None:
    findings = [
        FINDING,
        replace(FINDING, metric="critic/grad_norm"),
        replace(FINDING, rule="truncation", severity=Severity.ERROR),
    ]
    told = health(findings, 20)
    assert told.parts == (Part("truncation", Severity.ERROR, 30), Part("grad_spike", Severity.WARNING, 10))
    assert (told.score, told.grade) == (60, "C")


def test_what_is_over_weighs_less_with_time_but_never_nothing() -> None:
    ended = replace(FINDING, severity=Severity.ERROR, open=False)
    assert [health([ended], step).score for step in (10, 110, 210, 10_000)] == [70, 85, 92, 92]
    assert health([replace(ended, severity=Severity.CRITICAL)], 10_000).score == 30


def test_a_score_is_never_below_zero() -> None:
    many = [replace(FINDING, rule=name, severity=Severity.CRITICAL) for name in RULES]
    assert (health(many, 10).score, grade(0)) == (0, "F")
    assert [grade(score) for score in (100, 90, 89, 75, 60, 40, 39)] == ["A", "A", "B", "B", "C", "D", "F"]


@pytest.mark.parametrize("algorithm", ["sft", "dpo", "grpo"])
@pytest.mark.parametrize("seed", range(5))
def test_a_clock_that_jumps_back_and_ahead_changes_no_finding(algorithm: str, seed: int) -> None:
    """An hour back at a fifth of the run, two ahead in its middle, and right again near its end."""
    run = healthy(algorithm, seed, 200)
    jumps = [0.0] * 40 + [-3600.0] * 60 + [3600.0] * 60 + [0.0] * 40
    jumped = [sample._replace(time=(sample.time or 0) + by) for sample, by in zip(run, jumps, strict=True)]
    assert diagnosed(algorithm, jumped) == diagnosed(algorithm, run)
    rules = rules_for(algorithm)
    for upto in (41, 101, 161, 200):
        known = advance(State(), jumped[:upto], rules).state.metrics[STALL.name][""]
        assert STALL.judge(known, upto, 1799.0, STALL.limits) is None
        mark = STALL.judge(known, upto, 1801.0, STALL.limits)
        assert mark is not None
        assert mark.threshold == 1800.0, "a step takes as long as it did before"
