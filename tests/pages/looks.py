"""What a page says, and what it costs."""

from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext


def text(client: Client, address: str) -> str:
    answer = client.get(address)
    assert answer.status_code == 200
    return answer.content.decode()


def queries(client: Client, page: str) -> int:
    with CaptureQueriesContext(connection) as seen:
        assert client.get(page).status_code == 200
    return len(seen)
