"""What a request tells the code below it without passing parameters down."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponseBase

from . import audit
from .addresses import client_address


class RequestContext:
    """Puts the peer's address where `audit.record` finds it."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        token = audit.request_address.set(client_address(request))
        try:
            return self.get_response(request)
        finally:
            audit.request_address.reset(token)
