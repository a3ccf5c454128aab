"""How the tables become again what they were before the first test: an application of the tests alone.

Django's `flush` empties every table, full or not, and has content types, permissions and roles made anew: 70 ms after
each of hundreds of tests, and PostgreSQL's TRUNCATE of all tables takes longer yet.
"""

from typing import Any, Final

from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper

Rows = list[tuple[Any, ...]]

_FIRST: Final[dict[str, dict[str, Rows]]] = {}
"""By database, then by table: what stood there before the first test."""


def remember(connection: BaseDatabaseWrapper) -> None:
    """What there is now is what every test begins with."""
    with connection.cursor() as cursor:
        tables = _filled(connection, connection.introspection.django_table_names(only_existing=True))
        _FIRST[_name(connection)] = {table: _rows(connection, cursor, table) for table in tables}


def is_remembered(connection: BaseDatabaseWrapper) -> bool:
    return _name(connection) in _FIRST


def restore(connection: BaseDatabaseWrapper) -> None:
    """Only tables that a test changed are written."""
    first = _FIRST[_name(connection)]
    tables = connection.introspection.django_table_names(only_existing=True)
    quote = connection.ops.quote_name
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        if connection.vendor == "postgresql":  # as TRUNCATE does: what others are still writing is waited for
            cursor.execute(f"LOCK TABLE {', '.join(map(quote, tables))} IN EXCLUSIVE MODE")
        for table in {*_filled(connection, tables), *first}:
            wanted = first.get(table, [])
            if wanted and _rows(connection, cursor, table) == wanted:
                continue
            cursor.execute(f"DELETE FROM {quote(table)}")  # noqa: S608  names of our tables, quoted
            if wanted:
                places = ", ".join(["%s"] * len(wanted[0]))
                cursor.executemany(f"INSERT INTO {quote(table)} VALUES ({places})", wanted)  # noqa: S608


def _name(connection: BaseDatabaseWrapper) -> str:
    return str(connection.settings_dict["NAME"])


def _filled(connection: BaseDatabaseWrapper, tables: list[str]) -> list[str]:
    """Those with a row, by one question."""
    quote = connection.ops.quote_name
    asked = " UNION ALL ".join(
        f"SELECT '{table}' WHERE EXISTS (SELECT 1 FROM {quote(table)})"  # noqa: S608
        for table in tables
    )
    with connection.cursor() as cursor:
        cursor.execute(asked)
        return [row[0] for row in cursor.fetchall()]


def _rows(connection: BaseDatabaseWrapper, cursor: Any, table: str) -> Rows:
    cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")  # noqa: S608
    return sorted(cursor.fetchall())
