"""What is sent to the workers about hosts. Each is only a nudge: the next look at what is due sends it again."""

from typing import Final

from platform_site.common.messages import send
from platform_site.common.queues import MAINTENANCE

MAX_AGE_MS: Final = 240_000


def send_comparison(host_id: int) -> None:
    """Have the host's training environment compared with what the platform needs. To be called after commit."""
    send("compare_environment", MAINTENANCE, host_id, max_age_ms=MAX_AGE_MS)
