"""A pipeline is bounded where it would hold up everybody: in its stages, and in how often they need each other."""

import pytest

from pipelines.services.create import MOST_EDGES, MOST_STAGES, PipelineSpec, StageSpec, problems

from . import builders

pytestmark = pytest.mark.django_db


def told(stages: list[StageSpec]) -> dict[str, str]:
    return problems(builders.person(), PipelineSpec(name="large", stages=stages))


def groups(above: int, below: int) -> list[StageSpec]:
    """Two groups of stages, of which each of the second needs all of the first."""
    first = [StageSpec(name=f"a{number}", task="noop") for number in range(above)]
    names = tuple(stage.name for stage in first)
    return [*first, *(StageSpec(name=f"b{number}", task="noop", depends_on=names) for number in range(below))]


def test_as_much_as_is_allowed_is_taken() -> None:
    assert told(groups(100, MOST_EDGES // 100)) == {}
    assert told(groups(MOST_STAGES, 0)) == {}


def test_more_stages_are_refused_with_what_to_do() -> None:
    assert told(groups(MOST_STAGES + 1, 0))["stages"].startswith("A pipeline has at most 500 stages; this one has 501.")


def test_more_needs_are_refused_with_what_to_do() -> None:
    refused = told(groups(101, 100))["stages"]
    assert "10000 times at most; here it is 10100" in refused
    assert "does nothing between two groups" in refused
