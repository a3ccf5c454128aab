"""What the answers about metrics look like, for the OpenAPI description."""

from collections.abc import Mapping
from typing import Any, Final

_STEP: Final = {"type": "integer", "minimum": 0}
_NUMBER: Final = {"oneOf": [{"type": "number"}, {"type": "string", "enum": ["NaN", "Infinity", "-Infinity"]}]}
_SEGMENTS: Final = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {
            "attempt": {"type": "integer"},
            "resumed_from": {"type": "integer", "nullable": True},
            "first_step": {"type": "integer", "nullable": True},
            "last_step": {"type": "integer", "nullable": True},
            "bad_lines": {"type": "integer"},
        },
    },
}
METRICS: Final = {
    "type": "object",
    "properties": {
        "job": {"type": "string", "format": "uuid"},
        "resolution": {"type": "integer", "description": "Steps a point stands for at most; 1: the logged values."},
        "total_steps": {"type": "integer"},
        "segments": _SEGMENTS,
        "cursor": {"type": "integer", "description": "What the live socket takes as ?cursor= to go on from here."},
        "warnings": {"type": "array", "items": {"type": "object"}},
        "names": {"type": "array", "items": {"type": "string"}},
        "series": {
            "type": "object",
            "additionalProperties": {
                "type": "array",
                "items": {"type": "array", "items": {}, "description": "[step, value, min, max]"},
            },
        },
        "non_finite": {
            "type": "object",
            "description": "For each metric that has some, the last of each point: [step, value].",
            "additionalProperties": {"type": "array", "items": {"type": "array", "items": {}}},
        },
    },
    "required": ["job", "resolution", "total_steps", "segments"],
}


def _page_of(item: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "count": {"type": "integer"},
            "next": {"type": "string", "format": "uri", "nullable": True},
            "previous": {"type": "string", "format": "uri", "nullable": True},
            "results": {"type": "array", "items": {"type": "object", "properties": dict(item)}},
        },
        "required": ["count", "next", "previous", "results"],
    }


ROWS: Final = _page_of(
    {
        "attempt": {"type": "integer"},
        "step": _STEP,
        "time": {"type": "number", "nullable": True, "description": "Seconds since the epoch, the trainer's clock."},
        "metrics": {"type": "object", "additionalProperties": _NUMBER},
        "anomaly": {"type": "object", "nullable": True},
    }
)
ANOMALIES: Final = _page_of(
    {
        "attempt": {"type": "integer"},
        "step": _STEP,
        "time": {"type": "number", "nullable": True},
        "type": {"type": "string"},
        "message": {"type": "string"},
    }
)
BAD_LINES: Final = _page_of(
    {
        "attempt": {"type": "integer"},
        "generation": {"type": "integer", "description": "Grows when the file was replaced or cut."},
        "offset": {"type": "integer", "description": "Of the line's first byte in the file."},
        "reason": {"type": "string"},
        "excerpt": {"type": "string", "description": "How the line begins."},
    }
)
KEY_METRICS: Final = _page_of(
    {
        "job": {"type": "string", "format": "uuid"},
        "name": {"type": "string"},
        "source": {"type": "string", "description": "What the trainer logs it as."},
        "last": {"type": "number", "nullable": True, "description": "Null where it was no finite number."},
        "last_step": _STEP,
        "low": {"type": "number", "nullable": True, "description": "Smallest finite value."},
        "low_step": {"type": "integer", "nullable": True},
        "high": {"type": "number", "nullable": True},
        "high_step": {"type": "integer", "nullable": True},
    }
)
