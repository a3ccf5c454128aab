"""The platform's web sockets: one ASGI application each."""

from django.utils.translation import gettext as _

from platform_site.common.sockets import Receive, Scope, Send

from .live.job import watch_job
from .live.playback import play_job
from .live.rollouts import watch_rollouts
from .live.socket import Socket, unknown
from .live.updates import watch_updates


async def live(scope: Scope, receive: Receive, send: Send) -> None:
    """A job's points, status and progress as they come."""
    await Socket(scope, receive, send).serve(watch_job)


async def playback(scope: Scope, receive: Receive, send: Send) -> None:
    """A run once more, in the time it took or faster."""
    await Socket(scope, receive, send).serve(play_job)


async def rollouts(scope: Scope, receive: Receive, send: Send) -> None:
    """What a run's page of rollouts shows of new steps."""
    await Socket(scope, receive, send).serve(watch_rollouts)


async def updates(scope: Scope, receive: Receive, send: Send) -> None:
    """What changes on lists, and the training environment."""
    await Socket(scope, receive, send).serve(watch_updates)


async def nowhere(scope: Scope, receive: Receive, send: Send) -> None:
    await Socket(scope, receive, send).serve(_unknown)


async def _unknown(socket: Socket) -> None:
    unknown(_("There is no socket at this address."))
