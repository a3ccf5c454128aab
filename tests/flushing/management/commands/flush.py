"""Django's `flush`, which ends every test that commits, in the way of these tests."""

from typing import Any

from django.core.management.commands import flush
from django.db import connections

from tests import flushing


class Command(flush.Command):
    def handle(self, **options: Any) -> None:
        connection = connections[options["database"]]
        if flushing.is_remembered(connection):
            flushing.restore(connection)
        else:
            super().handle(**options)
