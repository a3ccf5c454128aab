"""The output of a stage as a file, sent piece by piece."""

from collections.abc import AsyncIterator
from typing import Final

from asgiref.sync import sync_to_async
from django.http import StreamingHttpResponse
from django.utils.text import slugify

from ..models import Stage
from ..services.logs import LogPiece, read_log

LOG_PIECE: Final = 1 << 20


def log_file(stage: Stage, name: str) -> StreamingHttpResponse:
    """The first piece is read before the answer begins, so that a host that is away gives an error page."""
    first = read_log(stage, offset=0, limit=LOG_PIECE)
    response = StreamingHttpResponse(_pieces(stage, first), content_type="text/plain; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{slugify(name) or "run"}-{str(stage.pk)[:8]}.log"'
    return response


async def _pieces(stage: Stage, piece: LogPiece) -> AsyncIterator[str]:
    """Asynchronous, because the server would read a plain iterator to its end before it sends anything."""
    while piece.text:
        yield piece.text
        piece = await sync_to_async(read_log)(stage, offset=piece.next_offset, limit=LOG_PIECE)
