"""How statuses, times, durations and numbers read on a page. Pure, apart from the active language."""

import math
from datetime import UTC, datetime
from typing import Final

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

STATUS_LABELS: Final[dict[str, Promise]] = {
    "pending": gettext_lazy("Pending"),
    "queued": gettext_lazy("Queued"),
    "starting": gettext_lazy("Starting"),
    "running": gettext_lazy("Running"),
    "cancelling": gettext_lazy("Cancelling"),
    "completed": gettext_lazy("Completed"),
    "failed": gettext_lazy("Failed"),
    "paused": gettext_lazy("Paused"),
    "cancelled": gettext_lazy("Cancelled"),
    "skipped": gettext_lazy("Skipped"),
    "lost": gettext_lazy("Lost"),
    "unreachable": gettext_lazy("Unreachable"),
    # An attempt's outcome, and the training environment's states.
    "succeeded": gettext_lazy("Succeeded"),
    "ready": gettext_lazy("Ready"),
    "installing": gettext_lazy("Installing"),
    "missing": gettext_lazy("Not installed"),
    "current": gettext_lazy("Up to date"),
    "differs": gettext_lazy("Differs"),
    "unknown": gettext_lazy("Not compared yet"),
}

STATS: Final[dict[str, Promise]] = {
    "turns": gettext_lazy("Turns"),
    "characters": gettext_lazy("Characters"),
    "mean_characters": gettext_lazy("Characters a row, mean"),
    "longest_characters": gettext_lazy("Characters of the longest row"),
}
"""What a dataset is counted by, in words."""


KIND_LABELS: Final[dict[str, Promise]] = {
    "preprocess_dataset": gettext_lazy("Prepare data"),
    "train_model": gettext_lazy("Train"),
    "run_evaluation": gettext_lazy("Evaluate"),
    "register_model": gettext_lazy("Register"),
    "cleanup_checkpoints": gettext_lazy("Clean up checkpoints"),
    "setup_host": gettext_lazy("Set up host"),
    "noop": gettext_lazy("No-op"),
}

SHAPES: Final[dict[str, str]] = {
    "succeeded": "completed",
    "ready": "completed",
    "installing": "running",
    "missing": "pending",
    "current": "completed",
    "differs": "lost",
    "unknown": "pending",
    "unreachable": "lost",
}
"""Statuses that look like another one."""

MINUTE: Final = 60
HOUR: Final = 3600
DAY: Final = 86400


def status_label(status: str) -> str:
    return str(STATUS_LABELS.get(status, status))


def stat_label(name: str) -> str:
    return str(STATS.get(name, name))


def kind_label(kind: str) -> str:
    """What a kind of stage is called; its own name where nobody gave it another."""
    return str(KIND_LABELS.get(kind, kind))


def status_shape(status: str) -> str:
    """Which icon and colour a status has: a key of the sprite and of the style sheet."""
    shape = SHAPES.get(status, status)
    return shape if shape in STATUS_LABELS else "pending"


def duration(seconds: float | None) -> str:
    """`72.4` as `1 min 12 s`: two units at most, the larger first; `0.234` as `0.23 s`. Empty for None.

    Below a tenth of a second it says that alone: two clocks of one piece of work differ by less than that.
    """
    if seconds is None or not math.isfinite(seconds):
        return ""
    if seconds < 0.1:
        return _("< 0.1 s")
    if seconds < 1:
        return _("{s} s").format(s=f"{seconds:.2g}")
    whole = int(seconds)
    if whole < MINUTE:
        return _("{s} s").format(s=whole)
    if whole < HOUR:
        return _("{m} min {s} s").format(m=whole // MINUTE, s=whole % MINUTE)
    if whole < DAY:
        return _("{h} h {m} min").format(h=whole // HOUR, m=whole % HOUR // MINUTE)
    return _("{d} d {h} h").format(d=whole // DAY, h=whole % DAY // HOUR)


def about(seconds: float | None) -> str:
    """`10800` as `3 h`: a duration as rough as a forecast is, in one unit. Empty for None."""
    if seconds is None or not math.isfinite(seconds):
        return ""
    if seconds < 90 * MINUTE:
        return _("{n} min").format(n=max(1, round(seconds / MINUTE)))
    if seconds < 2 * DAY:
        return _("{n} h").format(n=round(seconds / HOUR))
    return _("{n} d").format(n=round(seconds / DAY))


def memory_size(size: float | None) -> str:
    """Bytes in GiB, the unit of memory and of the charts beside it; smaller ones in MiB. A dash for None."""
    if size is None:
        return "–"
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


def moment(seconds: float | None) -> str:
    """Seconds since the epoch as a time of day with its date; a dash where none was recorded, or none that exists."""
    try:
        at = datetime.fromtimestamp(seconds if seconds is not None else math.nan, UTC)
    except (ValueError, OverflowError, OSError):
        return "–"
    return date_format(timezone.localtime(at), "Y-m-d H:i:s")


def ago(at: datetime, now: datetime | None = None) -> str:
    """How long ago, in the words that core.js uses too when it keeps the text fresh."""
    seconds = ((now or timezone.now()) - at).total_seconds()
    if seconds < MINUTE:
        return _("just now")
    if seconds < HOUR:
        return _("{n} min ago").format(n=int(seconds // MINUTE))
    if seconds < DAY:
        return _("{n} h ago").format(n=int(seconds // HOUR))
    if seconds < 30 * DAY:
        return _("{n} d ago").format(n=int(seconds // DAY))
    return date_format(timezone.localtime(at), "Y-m-d")


def metric_value(value: object) -> str:
    """A metric at four significant digits; NaN and the infinities (strings on the wire) as they are; none as a dash."""
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("∞" if value > 0 else "-∞")
    if float(value).is_integer() and abs(value) < 1e6:
        return str(int(value))
    magnitude = abs(value)
    if magnitude >= 1e6 or magnitude < 1e-3:
        mantissa, exponent = f"{value:.3e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{value:.4g}"


SEVERITY_SHAPES: Final = {"info": "queued", "warning": "lost", "error": "failed", "critical": "failed"}
"""Severity -> drawing and colour; the word always stands beside it."""
SEVERITY_TONES: Final = {"info": "wait", "warning": "warn", "error": "bad", "critical": "bad"}
