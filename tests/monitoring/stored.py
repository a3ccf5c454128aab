"""What the store holds of a segment, and whether all that is made of it is exact."""

from itertools import pairwise

import numpy as np
from django.db.models import Sum

from monitoring.models import MetricChunk, MetricColumn, MetricRow
from monitoring.store import buckets, tables, writing
from monitoring.store.tables import Range

from .conftest import Run


def stored(run: Run, attempt: int = 1) -> dict[int, dict[str, object]]:
    part = Range(run.segment(attempt).pk, attempt, 0, 2**53)
    return {row.step: dict(row.values) for row in tables.rows([part])}


def assert_store_is_whole(run: Run, attempt: int = 1) -> None:
    """Counts agree, chunks share no step, and every bucket made anew from the steps is what is stored."""
    segment = run.segment(attempt)
    rows = stored(run, attempt)
    chunks = MetricChunk.objects.filter(segment=segment).order_by("first")
    small = chunks.filter(tier=0).aggregate(n=Sum("count"))["n"] or 0
    large = chunks.filter(tier=1).aggregate(n=Sum("count"))["n"] or 0
    hot = MetricRow.objects.filter(segment=segment).count()
    assert (segment.rows, segment.unpacked, segment.small) == (len(rows), hot, small)
    assert hot + small + large == len(rows)
    assert hot < writing.SMALL
    assert list(rows) == sorted(rows)
    if rows:
        assert (segment.first_step, segment.last_step) == (min(rows), max(rows))
    for tier, top in enumerate(segment.tops):
        assert top == max(chunk.last for chunk in chunks if chunk.tier == tier or (tier == 0 and chunk.tier == 1))
    for tier in {chunk.tier for chunk in chunks}:
        mine = [chunk for chunk in chunks if chunk.tier == tier]
        assert all(one.last < two.first for one, two in pairwise(mine))
        for chunk in mine:
            within = {step: values for step, values in rows.items() if chunk.first <= step <= chunk.last}
            assert chunk.count == len(within)
            columns = MetricColumn.objects.filter(chunk=chunk)
            assert {column.name for column in columns} == {name for values in within.values() for name in values}
            for column in columns if tier else []:
                logged = [(step, float(str(row[column.name]))) for step, row in within.items() if column.name in row]
                steps, numbers = np.array([s for s, _ in logged]), np.array([v for _, v in logged])
                for level, blob in ((chunk.level, column.fine), (chunk.level + 4, column.coarse)):
                    wanted, found = buckets.of_values(steps, numbers, level), buckets.load(blob)
                    assert_same(found.cells, wanted.cells)
                    assert_same(found.odd, wanted.odd)


def assert_same(found: np.ndarray, wanted: np.ndarray) -> None:  # type: ignore[type-arg]
    assert len(found) == len(wanted)
    for name in wanted.dtype.names or ():
        assert np.allclose(found[name], wanted[name], rtol=1e-9, atol=1e-9, equal_nan=True), name
