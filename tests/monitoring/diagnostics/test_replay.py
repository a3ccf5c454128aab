"""A past run is read as it was lived: no step before its time, attempt by attempt, and in little memory."""

import tracemalloc
from collections.abc import Iterator, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring.diagnostics.backtest import Ended, Line, Past, Spent, Verdict, scores, verdicts
from monitoring.diagnostics.backtest import judged as judged_anew
from monitoring.diagnostics.core import Sample, Severity
from monitoring.diagnostics.replay import Replayed, Try, replay
from monitoring.diagnostics.rules import RULES, rules_for

from .series import healthy, samples

KL = "actor/kl_loss"


def broken(seed: int, steps: int = 120) -> list[Sample]:
    """A GRPO run in which one thing after the other goes wrong."""
    run = healthy("grpo", seed, steps)
    for at in range(steps // 2, steps):
        run[at] = run[at]._replace(values={**run[at].values, KL: 1.5 + (at - steps // 2) * 0.2, "actor/entropy": 0.001})
    run[-2] = run[-2]._replace(values={**run[-2].values, "actor/grad_norm": "NaN"})
    return run


def whole(run: Sequence[Sample], size: int = 1000) -> Replayed:
    return replay([Try(1, None, [run[at : at + size] for at in range(0, len(run), size)])], [], rules_for("grpo"))


@settings(max_examples=25)
@given(st.integers(0, 50), st.integers(1, 119), st.integers(1, 40))
def test_what_comes_later_changes_nothing_of_what_was_said_before(seed: int, cut: int, size: int) -> None:
    run = broken(seed)
    complete, until = whole(run, size), whole(run[:cut])
    assert until.alarms == tuple(alarm for alarm in complete.alarms if alarm.ordinal <= cut)
    assert complete == whole(run)


def test_each_severity_is_told_when_it_is_first_reached() -> None:
    found = whole(samples({KL: [0.1, 1.5, 1.2, 2.5, 9.0, 1.0]}))
    assert [(alarm.severity.word, alarm.step, alarm.ordinal) for alarm in found.alarms] == [
        ("warning", 2, 2),
        ("error", 4, 4),
        ("critical", 5, 5),
    ]
    first = found.first("kl_explosion", Severity.ERROR)
    assert first is not None
    assert (first.step, first.value, first.threshold, first.metric) == (4, 2.5, 1.0, KL)
    assert found.first("nan_inf", Severity.INFO) is None


def test_a_name_that_comes_later_does_not_take_the_place_of_the_one_that_was_read() -> None:
    """`actor/entropy` is the preferred name; the run logged the other first."""
    columns = {"entropy": [1.0] * 10 + [0.01] * 30, "actor/entropy": [None] * 30 + [1.0] * 10}
    found = [whole(samples(columns), size).first("entropy_collapse", Severity.INFO) for size in (1, 7, 40)]
    assert [(alarm and alarm.metric) for alarm in found] == ["entropy"] * 3


def test_an_attempt_goes_on_from_what_was_known_at_its_checkpoint() -> None:
    """What the first attempt logged after it counts for itself, and not for the second."""
    entropy = [*[1.0] * 20, *[0.01] * 20]
    first = samples({"actor/entropy": entropy})
    second = samples({"actor/entropy": [0.9] * 20}, first=21)
    tries = [Try(1, None, [first[:7], first[7:]]), Try(2, 20, [second])]
    found = replay(tries, [20], rules_for("grpo"))
    assert {(alarm.attempt, alarm.rule) for alarm in found.alarms} == {(1, "entropy_collapse")}
    assert found.steps == 60
    again = replay([Try(1, None, [first]), Try(2, 20, [first[20:]])], [20], rules_for("grpo"))
    alarm = replay([Try(2, 20, [first[20:]])], [20], rules_for("grpo")).alarms
    assert again.alarms == replay([Try(1, None, [first])], [], rules_for("grpo")).alarms
    assert alarm == (), "without what came before there is no baseline to fall from"


def steps(count: int) -> Iterator[Sequence[Sample]]:
    for start in range(0, count, 1000):
        yield [Sample(start + i + 1, float(start + i), {KL: 0.1, "critic/rewards/mean": 0.5}) for i in range(1000)]


def test_a_long_run_takes_no_more_memory_than_a_short_one() -> None:
    peaks = []
    for count in (2_000, 20_000):
        tracemalloc.start()
        assert replay([Try(1, None, steps(count))], [], rules_for("grpo")).steps == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


def spent(seconds: float, attempt: int = 1, gpus: int = 0, began_at: float | None = 1_763_800_000.0) -> Spent:
    return Spent(attempt, seconds, gpus, began_at)


EXPLODES = samples({KL: [0.1] * 10 + [3.0] + [6.0] * 9}, step_s=10.0)


def judged(ended: Ended, *took: Spent, least: Severity = Severity.ERROR) -> list[Verdict]:
    return verdicts(whole(EXPLODES), Past(ended, took), least)


def test_what_was_left_of_a_failed_run_would_have_been_saved() -> None:
    """The eleventh step came 100 s after the start; the run took an hour, and was tried again for half an hour."""
    (found,) = judged(Ended.FAILED, spent(3600, gpus=4), spent(1800, attempt=2))
    assert (found.step, found.acted_step, found.acted_severity) == (11, 11, "error")
    assert (found.lead_steps, found.lead_s) == (9, 3500 + 1800)
    assert (found.gpu_hours, found.cpu_hours) == (3500 * 4 / 3600, 0.5)
    assert not found.false_alarm


def test_an_alarm_in_a_healthy_run_is_false() -> None:
    (found,) = judged(Ended.HEALTHY, spent(3600, gpus=4))
    assert found.false_alarm
    (doubtful,) = judged(Ended.DOUBTFUL, spent(3600, gpus=4))
    assert not doubtful.false_alarm


def test_a_run_that_is_judged_afterwards_has_the_verdicts_that_it_would_have_had() -> None:
    for before in Ended:
        for now in Ended:
            found = judged_anew(judged(before, spent(3600, gpus=4)), now)
            assert found == judged(now, spent(3600, gpus=4)), (before, now)


def test_an_alarm_counts_from_the_severity_that_was_asked_for() -> None:
    (found,) = judged(Ended.FAILED, spent(3600), least=Severity.CRITICAL)
    assert (found.severity, found.step, found.acted_severity, found.acted_step) == ("error", 11, "critical", 12)
    (light,) = verdicts(whole(samples({KL: [1.5] * 5})), Past(Ended.HEALTHY, [spent(60)]), Severity.ERROR)
    assert (light.acted, light.acted_step, light.false_alarm, light.lead_steps) == (False, None, False, 4)


def test_without_a_clock_only_the_steps_are_told() -> None:
    (found,) = judged(Ended.FAILED, spent(3600, began_at=None))
    assert (found.lead_steps, found.lead_s, found.cpu_hours) == (9, None, 0.0)


def test_a_clock_that_runs_elsewhere_saves_no_more_than_the_run_took() -> None:
    for began_at in (1e12, 0.0):
        (found,) = judged(Ended.FAILED, spent(3600, began_at=began_at))
        assert found.lead_s is not None
        assert 0 <= found.lead_s <= 3600


def test_scores_count_what_was_caught_missed_and_false() -> None:
    lines = [
        Line(Ended.FAILED, judged(Ended.FAILED, spent(3600))),
        Line(Ended.CANCELLED, judged(Ended.CANCELLED, spent(200))),
        Line(Ended.FAILED, []),
        Line(Ended.HEALTHY, judged(Ended.HEALTHY, spent(3600))),
        Line(Ended.HEALTHY, []),
        Line(Ended.DOUBTFUL, judged(Ended.DOUBTFUL, spent(3600))),
    ]
    total, each = scores(lines, ["grad_spike", "kl_explosion"])
    assert [one.rule for one in each] == ["kl_explosion", "grad_spike"]
    kl = each[0]
    assert (kl.fired, kl.caught, kl.broken, kl.false_alarms, kl.healthy) == (4, 2, 3, 1, 2)
    assert (kl.lead_steps, kl.lead_s, kl.cpu_hours) == (9, (3500 + 100) / 2, 3600 / 3600)
    assert (total.rule, total.caught, total.cpu_hours) == ("", kl.caught, kl.cpu_hours)
    assert (each[1].fired, each[1].caught, each[1].lead_steps) == (0, 0, None)


def test_together_the_first_rule_to_act_counts() -> None:
    run = samples({KL: [0.1] * 10 + [3.0] * 10, "actor/pg_loss": [0.1] * 15 + ["NaN"] * 5}, step_s=10.0)
    found = verdicts(whole(run), Past(Ended.FAILED, [spent(3600)]), Severity.ERROR)
    assert [one.rule for one in found] == ["kl_explosion", "nan_inf"]
    total, _each = scores([Line(Ended.FAILED, found)], RULES)
    assert (total.caught, total.lead_steps, total.cpu_hours) == (1, 9, 3500 / 3600)
