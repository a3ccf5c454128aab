"""Which thresholds are in force for a run."""

from django.conf import settings

from monitoring.diagnostics.engine import Limits
from monitoring.models import Stream


def limits_for(stream: Stream) -> Limits:
    """Those that differ from the rules' own: what the settings say."""
    return {
        "kl_explosion": {"threshold": settings.KL_THRESHOLD},
        "stall": {"factor": settings.STALL_FACTOR, "after_s": settings.STALL_AFTER_S},
    }
