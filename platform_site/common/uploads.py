"""How large a form may be. Asked before anything of it is read: the check for forged forms reads the whole body, also
of strangers."""

from typing import Any, Final

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.core.files.uploadhandler import FileUploadHandler
from django.utils.translation import gettext as _

FORM_ROOM: Final = 64 * 1024
"""For everything in a form that is not the file."""


def limit() -> int:
    """The largest file that is taken, in bytes."""
    return int(settings.DATASET_MAX_BYTES)


class LimitUpload(FileUploadHandler):
    """Refuses a body that says it is larger. One that is larger than it says is cut by the server."""

    def handle_raw_input(
        self,
        input_data: Any,
        META: Any,  # noqa: N803 - Django's name
        content_length: int,
        boundary: Any,
        encoding: Any = None,
    ) -> None:
        if content_length > limit() + FORM_ROOM:
            told = _("The file is larger than the %(limit)s bytes that are taken.")
            raise RequestDataTooBig(told % {"limit": f"{limit():,}"})

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes:
        return raw_data  # for the next handler

    def file_complete(self, file_size: int) -> None:
        return None
