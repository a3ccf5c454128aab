"""Keep the first-class metrics of a stream up to date: last value, smallest and largest of its series."""

import math
from collections.abc import Iterable, Sequence
from uuid import UUID

from monitoring import selectors
from monitoring.key_metrics import sources_in
from monitoring.models import KeyMetric
from monitoring.store.lines import Step

_FIELDS = ("source", "last", "last_step", "low", "low_step", "high", "high_step")


def extend(stream_id: UUID, names: Iterable[str], steps: Sequence[Step]) -> None:
    """Take in steps (ascending) of the latest attempt. Call in the transaction that stores them."""
    sources = sources_in(names)
    if not sources:
        return
    known = {metric.name: metric for metric in KeyMetric.objects.filter(stream_id=stream_id)}
    changed = []
    for name, source in sources.items():
        values = [(step.step, float(step.values[source])) for step in steps if source in step.values]
        if not values:
            continue
        metric = known.get(name)
        if metric is not None and (metric.source != source or values[0][0] <= metric.last_step):
            # It is taken from another name from now on, or a value came late and may have replaced an extreme.
            renew(stream_id, names)
            return
        changed.append(_with(metric, stream_id, name, source, values))
    _keep(changed)


def renew(stream_id: UUID, names: Iterable[str]) -> None:
    """From the series as it is stored: after late steps, and when an attempt took the place of another's steps."""
    sources = sources_in(names)
    lines = selectors.extremes(stream_id, list(sources.values()))
    made = []
    for name, source in sources.items():
        if found := lines.get(source):
            last = found.last if math.isfinite(found.last) else None
            made.append(
                KeyMetric(
                    stream_id=stream_id,
                    name=name,
                    source=source,
                    last=last,
                    last_step=found.last_step,
                    low=found.low,
                    low_step=found.low_step,
                    high=found.high,
                    high_step=found.high_step,
                )
            )
    KeyMetric.objects.filter(stream_id=stream_id).exclude(name__in=[metric.name for metric in made]).delete()
    _keep(made)


def _with(
    known: KeyMetric | None, stream_id: UUID, name: str, source: str, values: Sequence[tuple[int, float]]
) -> KeyMetric:
    metric = known or KeyMetric(stream_id=stream_id, name=name, source=source)
    metric.last_step, last = values[-1]
    metric.last = last if math.isfinite(last) else None
    finite = [(value, step) for step, value in values if math.isfinite(value)]
    if finite:
        low, high = min(finite), max(finite, key=lambda one: one[0])
        if metric.low is None or low[0] < metric.low:
            metric.low, metric.low_step = low
        if metric.high is None or high[0] > metric.high:
            metric.high, metric.high_step = high
    return metric


def _keep(metrics: Sequence[KeyMetric]) -> None:
    if metrics:
        KeyMetric.objects.bulk_create(
            metrics, update_conflicts=True, unique_fields=["stream", "name"], update_fields=_FIELDS
        )
