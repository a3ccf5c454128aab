"""The actors: each takes ids, calls one service, and is safe to run twice."""

from uuid import UUID

import dramatiq

from monitoring.services.diagnose import diagnose
from platform_site.common.queues import MAINTENANCE


@dramatiq.actor(queue_name=MAINTENANCE, time_limit=1_800_000, max_retries=0)
def diagnose_stream(stream_id: str) -> None:
    """Read a whole run anew with the doctor's rules."""
    diagnose(UUID(stream_id))
