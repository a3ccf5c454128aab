"""Queue names and their priority: the one list that actors, dispatch and pages share."""

from typing import Final

TRAINING: Final = "training"
EVALUATION: Final = "evaluation"
PREPROCESSING: Final = "preprocessing"
DEFAULT: Final = "default"
MAINTENANCE: Final = "maintenance"
CONTROL: Final = "control"
"""The platform's own ticks. No stage ever waits here."""
REMOTE: Final = "remote"
"""The same for hosts that are reached over a network: one that keeps silent holds up no other tick."""
IDLE_HOSTS: Final = "idle-hosts"
"""Looks at hosts that nothing runs on: however many of them keep silent, those with runs wait for none."""
HOST_CHECKS: Final = "host-checks"
"""Checks of hosts and comparisons of their environments: minutes, where one is slow. No launch and no look waits
behind them."""
NOTIFICATIONS: Final = "notifications"
"""Who is told of what."""
OUTSIDE: Final = "outside"
"""Messages to other servers: one that keeps silent holds up nothing else, and not what is told in the page."""

PRIORITY: Final[dict[str, int]] = {TRAINING: 10, EVALUATION: 7, PREPROCESSING: 6, DEFAULT: 5, MAINTENANCE: 3}
STAGE_QUEUES: Final = tuple(PRIORITY)
ALL_QUEUES: Final = (*STAGE_QUEUES, CONTROL, REMOTE, IDLE_HOSTS, HOST_CHECKS, NOTIFICATIONS, OUTSIDE)
