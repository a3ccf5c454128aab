"""Numbers at the edge of what there is: whatever a trainer logs, what is kept of it fits into JSON, and every rule
reads on."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring.diagnostics.core import Sample
from monitoring.diagnostics.engine import State, advance
from monitoring.diagnostics.rules import RULES, rules_for
from monitoring.diagnostics.statistics import LARGEST, Ema, finite

NAMES = sorted({alias for rule in RULES.values() for alias in rule.aliases if alias})
EDGES = st.sampled_from([0, 1.0, -1.0, 1e-310, 5e-324, 1e308, -1e308, LARGEST, -LARGEST, 2**63, "NaN", "Infinity"])


@st.composite
def runs(draw: st.DrawFn) -> list[Sample]:
    """Stretches in which a value stays, as what a mean forgets slowly is what overflows."""
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True))
    samples: list[Sample] = []
    for _ in range(draw(st.integers(1, 5))):
        values = {name: draw(EDGES) for name in names}
        time = draw(st.sampled_from([None, 0.0, 1e9, 1e308, -1e308]))
        samples += [Sample(len(samples) + n, time, values) for n in range(draw(st.sampled_from([1, 3, 30])))]
    return samples


@settings(max_examples=150)
@given(st.sampled_from(["sft", "dpo", "grpo", "gspo"]), runs())
def test_state_and_findings_fit_into_json(algorithm: str, samples: list[Sample]) -> None:
    rules, state = rules_for(algorithm), State()
    for at in range(0, len(samples), 7):
        seen = advance(state, samples[at : at + 7], rules)
        for finding in seen.findings:
            json.dumps([finding.value, finding.threshold, finding.params], allow_nan=False)
        kept: Any = json.loads(json.dumps(seen.state.to_json(), allow_nan=False))
        restored = State.from_json(kept, rules)
        assert restored is not None
        assert restored.upto == samples[min(at + 6, len(samples) - 1)].step
        state = restored


def test_a_ratio_to_next_to_nothing_is_told_with_the_largest_number() -> None:
    samples = [Sample(n, None, {"critic/grad_norm": 1e-310}) for n in range(30)]
    (finding,) = advance(State(), [*samples, Sample(30, None, {"critic/grad_norm": 1.0})], rules_for("sft")).findings
    assert finding.rule == "grad_spike"
    assert finding.params["ratio"] == LARGEST


def test_a_mean_stays_a_number() -> None:
    ema = Ema()
    for value in (LARGEST, -LARGEST, LARGEST, 1.0):
        ema = ema.add(value, 0.9)
    assert finite(ema.mean) == ema.mean
    assert finite(ema.variance) == ema.variance


@pytest.mark.parametrize(("value", "kept"), [(float("inf"), LARGEST), (float("-inf"), -LARGEST), (float("nan"), 0.0)])
def test_what_is_no_number_is_kept_as_the_next_one(value: float, kept: float) -> None:
    assert finite(value) == kept
