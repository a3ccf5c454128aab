"""Where a request comes from."""

from django.http import HttpRequest


def client_address(request: HttpRequest) -> str | None:
    """The address of the peer, or None over a unix socket. Headers such as X-Forwarded-For are the client's
    own words and count for nothing here; a trusted proxy is the web server's business, which sets the peer."""
    return request.META.get("REMOTE_ADDR") or None
