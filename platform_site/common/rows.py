"""Read and write rows by plain equality, with the SQL of each question made once.

For what is asked at every step of every run: there, making the SQL with the ORM took ten times as long as running it.
Names are those of columns (`stream_id`). A row that is read is a whole instance of its model, as the ORM makes it.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

from django.db import connection, models

Row = TypeVar("Row", bound=models.Model)


def select(model: type[Row], where: Mapping[str, Any], *, order: str = "", lock: bool = False) -> list[Row]:
    """Rows whose columns have these values, none of them None; with `lock` held until the transaction ends."""
    fields = model._meta.concrete_fields
    with connection.cursor() as cursor:
        cursor.execute(
            _selecting(model, tuple(where), order, lock and connection.features.has_select_for_update),
            [_given(model, name, value) for name, value in where.items()],
        )
        found = list(map(list, cursor.fetchall()))
    for at in _converted(model, connection.vendor):
        column = fields[at].get_col(model._meta.db_table)
        for convert in _converters(column):
            for row in found:
                row[at] = convert(row[at], column, connection)
    names = [field.attname for field in fields]
    return [model.from_db(connection.alias, names, row) for row in found]


def update(model: type[models.Model], where: Mapping[str, Any], changes: Mapping[str, Any]) -> int:
    """Set columns of the rows whose columns have these values, none of them None; how many there were."""
    with connection.cursor() as cursor:
        cursor.execute(
            _updating(model, tuple(where), tuple(changes)),
            [_given(model, name, value) for part in (changes, where) for name, value in part.items()],
        )
        return int(cursor.rowcount)


def save(row: models.Model) -> None:
    """All columns of a row, new or not, as it stands."""
    if row._state.adding:
        row.save()
        return
    key = row._meta.pk.attname
    columns = [field.attname for field in row._meta.concrete_fields if field.attname != key]
    update(type(row), {key: row.pk}, {name: getattr(row, name) for name in columns})


@cache
def _converted(model: type[models.Model], vendor: str) -> list[int]:
    """Columns that the database gives other than the model has them."""
    table = model._meta.db_table
    return [at for at, field in enumerate(model._meta.concrete_fields) if _converters(field.get_col(table))]


def _converters(column: Any) -> list[Any]:
    return [*connection.ops.get_db_converters(column), *column.get_db_converters(connection)]


@cache
def _selecting(model: type[models.Model], where: tuple[str, ...], order: str, lock: bool) -> str:
    columns = ", ".join(_quoted(field.column) for field in model._meta.concrete_fields)
    tail = (f" ORDER BY {_column(model, order)}" if order else "") + (" FOR UPDATE" if lock else "")
    return f"SELECT {columns} FROM {_quoted(model._meta.db_table)} WHERE {_equal(model, where)}{tail}"  # noqa: S608


@cache
def _updating(model: type[models.Model], where: tuple[str, ...], changes: tuple[str, ...]) -> str:
    values = ", ".join(f"{_column(model, name)} = %s" for name in changes)
    return f"UPDATE {_quoted(model._meta.db_table)} SET {values} WHERE {_equal(model, where)}"  # noqa: S608


def _equal(model: type[models.Model], names: tuple[str, ...]) -> str:
    return " AND ".join(f"{_column(model, name)} = %s" for name in names)


def _column(model: type[models.Model], name: str) -> str:
    return _quoted(_field(model, name).column)


@cache
def _field(model: type[models.Model], name: str) -> Any:
    return next(field for field in model._meta.concrete_fields if field.attname == name)


def _given(model: type[models.Model], name: str, value: Any) -> Any:
    return _field(model, name).get_db_prep_save(value, connection)


def _quoted(name: str) -> str:
    return f'"{name}"'
