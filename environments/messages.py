"""What is said of hosts: to the workers, each only a nudge that the next look at what is due sends again; to pages."""

from typing import Final

from environments.models import Host
from platform_site.common.live import push_on_commit
from platform_site.common.messages import send
from platform_site.common.queues import HOST_CHECKS

MAX_AGE_MS: Final = 240_000


def send_comparison(host_id: int) -> None:
    """Have the host checked, and its training environment compared with what the platform needs. To be called after
    commit."""
    send("compare_environment", HOST_CHECKS, host_id, max_age_ms=MAX_AGE_MS)


def announce(host: Host) -> None:
    """Have pages that show the host look again, once the running transaction has committed."""
    push_on_commit(f"hosts.{host.project_id}", host=host.name)
