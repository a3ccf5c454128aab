"""Lists come in pages: `{count, next, previous, results}`, by `limit` and `offset`."""

from typing import Any, Final

from django.utils.translation import gettext as _
from rest_framework.pagination import LimitOffsetPagination
from rest_framework.request import Request

from ..errors import BadRequest

DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 500
MAX_OFFSET: Final = 10**9


class Page(LimitOffsetPagination):
    """A limit above the largest page is cut to it, and `next` goes on; what is no number is a 400."""

    default_limit = DEFAULT_LIMIT
    max_limit = MAX_LIMIT

    def get_limit(self, request: Request) -> int:
        return min(whole_number(request, "limit", DEFAULT_LIMIT, low=1), MAX_LIMIT)

    def get_offset(self, request: Request) -> int:
        return whole_number(request, "offset", 0, low=0, high=MAX_OFFSET)

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        shape: dict[str, Any] = super().get_paginated_response_schema(schema)
        shape["required"] = ["count", "next", "previous", "results"]
        return shape


def whole_number(request: Request, name: str, default: int, *, low: int = 0, high: int = MAX_OFFSET) -> int:
    """A query parameter as an integer; `default` when it is not given. Raises BadRequest naming it."""
    text = request.query_params.get(name)
    if text is None or text == "":
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 18 or int(text) < low:
        problem = _("Give a whole number of at least {low}.").format(low=low)
        raise BadRequest(f"{name}: {problem}", {name: problem})
    if int(text) > high:
        problem = _("Give a whole number of at most {high}.").format(high=high)
        raise BadRequest(f"{name}: {problem}", {name: problem})
    return int(text)
