"""`Idempotency-Key` on POST: the same request sent again has one effect and gets the same answer.

Key and effect commit in one transaction, so a crash in between leaves neither; a second request with the key waits
for the first (unique constraint) and then replays its answer. Only answers below 400 are kept: what failed had no
effect and may be tried again. Keys live for 24 hours, per user and address.

Views get it from `IdempotentPosts` (it is in `ApiView` and its kin). Their handlers therefore run inside a
transaction when a key is given: no network, no `atomic(durable=True)`, work is sent by `on_commit`. A view that must
reach beyond the database and may be repeated without harm (look again, check again) sets
`naturally_idempotent = True`: it runs outside a transaction, and its answer is kept afterwards.
"""

import hashlib
import json
from collections.abc import Callable
from datetime import timedelta
from http import HTTPStatus
from typing import Any, Final

from django.core.files.uploadedfile import UploadedFile
from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _
from rest_framework.request import Request
from rest_framework.response import Response

from ..errors import BadRequest, Conflict, Invalid
from ..models import IdempotencyRecord
from .renderers import dumps

HEADER: Final = "Idempotency-Key"
REPLAYED: Final = "Idempotent-Replayed"
LIFE: Final = timedelta(hours=24)
LONGEST_KEY: Final = 255
LONGEST_ROUTE: Final = 200
_SWEEP: Final = 100
"""Old records that one new key clears away, so that the table stays small without a job of its own."""

Handler = Callable[..., Response]


class IdempotentPosts:
    """Mixin for REST framework views, before APIView among the bases."""

    naturally_idempotent = False

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """After rights are checked and before the handler is looked up, the handler is wrapped."""
        super().initial(request, *args, **kwargs)  # type: ignore[misc]  # APIView has it
        if request.method == "POST" and HEADER in request.headers:
            handler: Handler | None = getattr(self, "post", None)
            if handler is not None:
                run = _repeatable if self.naturally_idempotent else _once
                self.post = run(handler, _given_key(request))


def forget_old() -> int:
    """Deletes every record past its life; how many. For the maintenance tick."""
    return IdempotencyRecord.objects.filter(created_at__lt=timezone.now() - LIFE).delete()[0]


def _once(handler: Handler, key: str) -> Handler:
    """Key and effect in one transaction."""

    def post(request: Request, *args: Any, **kwargs: Any) -> Response:
        sha256 = body_sha256(request)
        with transaction.atomic():
            record = _reserve(request, key, sha256)
            if record.status_code is not None:
                return _replay(record, sha256)
            response = handler(request, *args, **kwargs)
            if response.status_code >= HTTPStatus.BAD_REQUEST:
                transaction.set_rollback(True)
            else:
                _keep(record, response)
        return response

    return post


def _repeatable(handler: Handler, key: str) -> Handler:
    """The effect may happen twice; the answer is kept afterwards. Of two at once the first one's is kept."""

    def post(request: Request, *args: Any, **kwargs: Any) -> Response:
        sha256 = body_sha256(request)
        known = _living(request, key).first()
        if known is not None:
            return _replay(known, sha256)
        response = handler(request, *args, **kwargs)
        if response.status_code < HTTPStatus.BAD_REQUEST:
            with transaction.atomic():
                record = _reserve(request, key, sha256)
                if record.status_code is None:
                    _keep(record, response)
        return response

    return post


def _reserve(request: Request, key: str, sha256: str) -> IdempotencyRecord:
    """Our own new record (`status_code` None), or the finished one of whoever was first. Waits for a running one."""
    old = timezone.now() - LIFE
    mine = _records(request, key)
    mine.filter(created_at__lt=old).delete()
    expired = IdempotencyRecord.objects.filter(created_at__lt=old).values_list("pk", flat=True)[:_SWEEP]
    IdempotencyRecord.objects.filter(pk__in=list(expired)).delete()
    try:
        with transaction.atomic():
            return IdempotencyRecord.objects.create(
                user_id=_user_id(request), route=route(request), key=key, body_sha256=sha256
            )
    except IntegrityError:
        found = mine.first()
    if found is None:
        raise Conflict(_("The same request is just being undone. Send it again."))
    return found


def _keep(record: IdempotencyRecord, response: Response) -> None:
    record.status_code = response.status_code
    record.body = "" if response.data is None else dumps(response.data).decode()
    record.save(update_fields=["status_code", "body"])


def _replay(record: IdempotencyRecord, sha256: str) -> Response:
    if record.body_sha256 != sha256:
        message = _("This Idempotency-Key has already been used with another request.")
        raise Invalid(message, code="idempotency_key_reused")
    data = json.loads(record.body) if record.body else None
    return Response(data, status=record.status_code, headers={REPLAYED: "true"})


def _records(request: Request, key: str) -> QuerySet[IdempotencyRecord]:
    return IdempotencyRecord.objects.filter(user_id=_user_id(request), route=route(request), key=key)


def _user_id(request: Request) -> int:
    """Rights were checked before: there is a user."""
    return int(request.user.pk or 0)


def _living(request: Request, key: str) -> QuerySet[IdempotencyRecord]:
    return _records(request, key).filter(created_at__gte=timezone.now() - LIFE)


def route(request: Request) -> str:
    """The address, its identifiers included: cancelling A with a key says nothing about cancelling B."""
    path = request.path.rstrip("/")
    if len(path) <= LONGEST_ROUTE:
        return path
    return "sha256:" + hashlib.sha256(path.encode()).hexdigest()


def _given_key(request: Request) -> str:
    key: str = request.headers[HEADER]
    if not 1 <= len(key) <= LONGEST_KEY or not key.isascii() or not key.isprintable() or key != key.strip():
        problem = _("Give 1 to {most} printable ASCII characters.").format(most=LONGEST_KEY)
        raise BadRequest(f"{HEADER}: {problem}", {HEADER: problem})
    return key


def body_sha256(request: Request) -> str:
    """Of the content rather than its bytes: spacing, order of names and multipart boundaries do not matter."""
    data = request.data
    digest = hashlib.sha256()
    if hasattr(data, "lists"):
        for name, values in sorted(data.lists()):
            for value in values:
                part = _file_sha256(value) if isinstance(value, UploadedFile) else f"text:{value}"
                digest.update(json.dumps([name, part]).encode())
    else:
        digest.update(json.dumps(data, sort_keys=True, default=str).encode())
    return digest.hexdigest()


def _file_sha256(file: "UploadedFile[Any]") -> str:
    """Name and content, read in chunks; the file stands at its start again afterwards."""
    digest = hashlib.sha256()
    for chunk in file.chunks():
        digest.update(chunk)
    file.seek(0)
    return f"file:{file.name}:{digest.hexdigest()}"
