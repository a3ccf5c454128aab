"""Long runs put into the store as columns: a million steps in seconds."""

from collections.abc import Iterator, Mapping
from typing import Any, Final
from uuid import UUID

import numpy as np
from django.db import transaction
from numpy.typing import NDArray

from monitoring.models import Segment, Stream
from monitoring.store import writing
from monitoring.store.block import Block
from monitoring.store.writing import Shelf

PORTION: Final = writing.LARGE * 16

Column = tuple[NDArray[np.float64], NDArray[np.bool_]]


def fill(stream_id: UUID, steps: int, metrics: int, *, dense: int | None = None) -> list[str]:
    """Steps 1 to `steps` of the first attempt, whose segment is open; the names of the metrics. With `dense` only
    so many have a value at each step, the others at every thousandth."""
    names = [f"actor/metric_{i:02}" for i in range(metrics)]
    with transaction.atomic():
        segment = Segment.objects.get(stream_id=stream_id, attempt=1)
        shelf = Shelf(segment.pk)
        for block in _blocks(steps, names, metrics if dense is None else dense):
            shelf = writing.add(shelf, block)
        Segment.objects.filter(pk=segment.pk).update(
            rows=steps, small=shelf.small, tops=list(shelf.tops), first_step=1, last_step=steps
        )
        Stream.objects.filter(pk=stream_id).update(version=1, names=names, last_step=steps)
    return names


def _blocks(steps: int, names: list[str], dense: int) -> Iterator[Block]:
    noise = np.random.default_rng(7).normal(size=PORTION)
    for first in range(1, steps + 1, PORTION):
        numbers = np.arange(first, min(first + PORTION, steps + 1), dtype=np.int64)
        there = np.ones(len(numbers), bool)
        columns: dict[str, Any] = {}
        for i, name in enumerate(names):
            values = noise[: len(numbers)] + i + 1e3 / (numbers + 100)
            columns[name] = (values, there if i < dense else numbers % 1000 == 0)
        yield _block(numbers, columns)


def _block(numbers: NDArray[np.int64], columns: Mapping[str, Column]) -> Block:
    return Block(numbers, 1.7e9 + numbers * 0.5, np.ones(len(numbers), np.int64), dict(columns))
