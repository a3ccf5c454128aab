"""What the scheduler does each second: send again what was lost, and what has waited long enough."""

from notifications.models import Event
from notifications.services.delivery import due_lanes, send_deliver
from notifications.services.events import send_spread


def tick() -> None:
    if Event.objects.filter(spread_at=None).exists():
        send_spread()
    for lane_id in due_lanes():
        send_deliver(lane_id)
