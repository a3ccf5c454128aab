"""The errors that services raise and every face of the platform (API, pages, commands) knows how to tell.

A service says what is wrong in the user's words and never names an HTTP status at the place of the error:
the class carries it. Anything that is not a `PlatformError` is a bug and is told to nobody but the log.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

FieldErrors = Mapping[str, Sequence[str]]
"""Dotted field name -> what is wrong with it, one sentence each."""


class PlatformError(Exception):
    """Base of all expected errors. `message` is shown to the user as it is; `fields` says where it hurts."""

    code: ClassVar[str] = "error"
    http_status: ClassVar[int] = 500

    def __init__(
        self,
        message: str,
        fields: Mapping[str, str | Sequence[str]] | None = None,
        *,
        code: str | None = None,
        details: Mapping[str, object] | None = None,
    ) -> None:
        """`code` narrows the class's code (e.g. "stale_revision"); `details` is further JSON for the client,
        e.g. the failing gates of a blocked release."""
        super().__init__(message)
        self.message = str(message)
        self.fields: dict[str, list[str]] = {
            name: [str(problems)] if isinstance(problems, str) else [str(problem) for problem in problems]
            for name, problems in (fields or {}).items()
        }
        self.details: dict[str, object] = dict(details or {})
        if code is not None:
            self.code = code  # type: ignore[misc]  # an instance may be more precise than its class

    def __str__(self) -> str:
        return self.message


class BadRequest(PlatformError):
    """The request itself is malformed: unknown field, wrong type, unknown filter."""

    code = "bad_request"
    http_status = 400


class Forbidden(PlatformError):
    """The user is known and may not do this."""

    code = "forbidden"
    http_status = 403


class NotFound(PlatformError):
    """No such thing, or none that this user may see."""

    code = "not_found"
    http_status = 404


class Conflict(PlatformError):
    """The state does not allow it, or somebody else was first."""

    code = "conflict"
    http_status = 409


class TooLarge(PlatformError):
    """More bytes than the platform takes."""

    code = "too_large"
    http_status = 413


class Invalid(PlatformError):
    """Well-formed, but it can not be: invalid recipe, graph or data; environment missing."""

    code = "invalid"
    http_status = 422


class Unavailable(PlatformError):
    """Something the platform needs is away (Redis, database, host). Trying again later may help."""

    code = "unavailable"
    http_status = 503
