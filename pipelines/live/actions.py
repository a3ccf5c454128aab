"""What a client of a playback asks for. Raises Refused for everything else."""

import math
from dataclasses import dataclass
from typing import Any, Final

import orjson
from django.utils.translation import gettext as _

from monitoring.store.lines import MAX_STEP

from .socket import bad_input
from .tempo import FASTEST, SLOWEST

_LONGEST: Final = 256


@dataclass(frozen=True)
class Pause:
    pass


@dataclass(frozen=True)
class Resume:
    pass


@dataclass(frozen=True)
class Seek:
    step: int


@dataclass(frozen=True)
class Speed:
    speed: float


Action = Pause | Resume | Seek | Speed


def action_of(text: str | None) -> Action:
    """`{"action": "pause"}`, `"resume"`, `{"action": "seek", "step": 120}` or `{"action": "speed", "speed": 2.5}`."""
    if text is None or len(text) > _LONGEST:
        bad_input(_("A message is a short JSON text."))
    try:
        said = orjson.loads(text)
    except orjson.JSONDecodeError:
        bad_input(_("A message is a short JSON text."))
    action = _read(said)
    if action is None:
        bad_input(_("The actions are pause, resume, seek with a step, and speed with a speed."))
    return action


def _read(said: Any) -> Action | None:
    match said:
        case {"action": "pause", **rest} if not rest:
            return Pause()
        case {"action": "resume", **rest} if not rest:
            return Resume()
        case {"action": "seek", "step": step, **rest} if not rest and type(step) is int and 0 <= step <= MAX_STEP:
            return Seek(step)
        case {"action": "speed", "speed": speed, **rest} if not rest:
            return Speed(checked_speed(speed))
    return None


def checked_speed(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not SLOWEST <= value <= FASTEST:
        bad_input(
            _("The speed is a number from %(slowest)s to %(fastest)s.") % {"slowest": SLOWEST, "fastest": FASTEST}
        )
    return float(value)


def speed_of(text: str | None) -> float:
    """Of an address."""
    if text is None:
        return 1.0
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    return checked_speed(value)


def step_of(text: str | None) -> int | None:
    """Of an address. Empty is none."""
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > len(str(MAX_STEP)) or int(text) > MAX_STEP:
        bad_input(_("A step is a whole number."))
    return int(text)
