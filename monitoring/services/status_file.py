"""What the trainer's status file says of target and anomaly. It is a hint: the rows say the same in more detail."""

import json
from typing import Any, Final

from django.db import transaction
from django.db.models import F

from environments.transports import Tail, Transport
from monitoring.models import Stream
from monitoring.services.news import announce
from monitoring.store import lines

_MOST_BYTES: Final = 65_536
_MAX_TARGET: Final = 2**53


def ahead(metrics_path: str) -> Tail:
    """What `take_over` asks of the host."""
    return Tail(_beside(metrics_path), 0, _MOST_BYTES)


def take_over(stream: Stream, metrics_path: str, transport: Transport) -> bool:
    """Whether it tells of an anomaly. A file that is missing or cannot be read says nothing."""
    try:
        body = json.loads(transport.tail(_beside(metrics_path), 0, _MOST_BYTES)[1])
    except (ValueError, RecursionError):
        return False
    if not isinstance(body, dict):
        return False
    changes: dict[str, Any] = {}
    target = body.get("target_step")
    if type(target) is int and 0 < target <= _MAX_TARGET and target != stream.target_step:
        changes["target_step"] = target
    flagged = body.get("has_anomaly") is True
    if flagged and not stream.has_anomaly:
        anomaly = lines.anomaly_of({"type": body.get("anomaly_type"), "message": body.get("anomaly_message")})
        changes |= {"has_anomaly": True, "anomaly_type": anomaly.type, "anomaly_message": anomaly.message}
    if changes:
        with transaction.atomic():
            Stream.objects.filter(pk=stream.pk).update(version=F("version") + 1, **changes)
            announce(stream.pk, Stream.objects.values_list("version", flat=True).get(pk=stream.pk))
    return flagged


def _beside(metrics_path: str) -> str:
    return metrics_path.removesuffix("_metrics.jsonl") + "_status.json"
