"""JSON out: non-finite numbers as strings, times in UTC."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from django.utils import timezone
from rest_framework.renderers import JSONRenderer
from rest_framework.utils import encoders

from ..jsonsafe import finite


class Encoder(encoders.JSONEncoder):
    """REST framework's, with every time in UTC. Naive times do not occur (USE_TZ)."""

    def default(self, obj: Any) -> Any:
        if isinstance(obj, datetime):
            return utc(obj)
        return super().default(obj)


def utc(moment: datetime) -> str:
    """ISO 8601 with a Z."""
    aware = moment if timezone.is_aware(moment) else timezone.make_aware(moment)
    return aware.astimezone(UTC).isoformat().replace("+00:00", "Z")


class Json(JSONRenderer):
    """The API's one renderer. Plain data goes straight through; only data with NaN or infinity is walked."""

    charset = None

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Mapping[str, Any] | None = None
    ) -> bytes:
        return b"" if data is None else dumps(data)


def dumps(data: Any) -> bytes:
    """Compact UTF-8. Text that is no Unicode (half a surrogate pair) gets replacement characters."""
    try:
        text = _encode(data)
    except ValueError:
        text = _encode(finite(_plain(data)))
    return text.encode("utf-8", "replace")


def _encode(data: Any) -> str:
    return json.dumps(data, cls=Encoder, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _plain(data: Any) -> Any:
    """Lists and dictionaries alone, so that no number hides in a type that the encoder opens later."""
    return json.loads(json.dumps(data, cls=Encoder, ensure_ascii=False, allow_nan=True))
