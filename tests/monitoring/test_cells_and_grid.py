"""Buckets say exactly what their steps come to, however they are grouped."""

from hypothesis import given
from hypothesis import strategies as st

from monitoring.store import cells, grid

VALUES = st.integers(-1000, 1000) | st.sampled_from(["NaN", "Infinity", "-Infinity"])
STEPS = st.dictionaries(st.integers(0, 300), VALUES, min_size=1, max_size=60)


def plain(steps: dict[int, object]) -> cells.Cell:
    """The cell by definition."""
    finite = [v for v in steps.values() if isinstance(v, int)]
    odd = {s: v for s, v in steps.items() if isinstance(v, str)}
    last = max(steps)
    return cells.Cell(
        min(finite, default=None),
        max(finite, default=None),
        steps[last],  # type: ignore[arg-type]
        last,
        len(steps),
        len(odd),
        max(odd, default=None),
        odd[max(odd)] if odd else None,
    )


@given(STEPS, st.integers(1, 4))
def test_cells_of_cells_are_cells_of_values(steps: dict[int, object], level: int) -> None:
    parts: dict[int, list[tuple[int, dict[str, object]]]] = {}
    for step, value in sorted(steps.items()):
        parts.setdefault(step // grid.width(level), []).append((step, {"m": value}))
    buckets = [cells.of_steps(part) for _, part in sorted(parts.items())]  # type: ignore[arg-type]
    whole = cells.of_buckets(buckets)
    assert whole.rows == len(steps)
    assert whole.cells == {"m": plain(steps)}
    assert cells.load(cells.dump(whole.cells)) == whole.cells


@given(st.integers(0, grid.TOP), st.integers(0, 5000), st.integers(0, 5000))
def test_a_cover_meets_its_range_exactly_once(level: int, low: int, size: int) -> None:
    high = low + size
    spans = grid.cover(level, low, high)
    met = [
        step
        for span in spans
        for step in range(span.first * grid.width(span.level), (span.last + 1) * grid.width(span.level))
    ]
    assert met == list(range(low, high + 1))
    assert len(spans) <= 2 * level + 1


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(1, 20_000))
def test_the_fitting_level_is_the_smallest(low: int, size: int, points: int) -> None:
    level = grid.fitting(low, low + size, points)
    assert level == grid.TOP or grid.slots(level, low, low + size) <= points
    assert level == 0 or grid.slots(level - 1, low, low + size) > points


def test_runs_join_neighbours() -> None:
    assert grid.runs([1, 2, 3, 7, 9, 10]) == [(1, 3), (7, 7), (9, 10)]
    assert grid.runs([]) == []
