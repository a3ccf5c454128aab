"""The actors: each takes ids, calls one service, and is safe to run twice."""

import dramatiq

from notifications.services.delivery import deliver
from notifications.services.spread import spread
from platform_site.common.queues import NOTIFICATIONS, OUTSIDE

# The tick finds in the database what is left to do, and sends it again.


@dramatiq.actor(queue_name=NOTIFICATIONS, time_limit=60_000, max_retries=0)
def spread_events() -> None:
    """Tell people of what happened."""
    while spread():
        pass


@dramatiq.actor(queue_name=OUTSIDE, time_limit=90_000, max_retries=0)
def deliver_in(lane_id: int) -> None:
    """Send what waits for one address outside, errors or the rest, as one message."""
    deliver(lane_id)
