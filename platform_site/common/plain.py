"""Read and write rows by plain equality, with the SQL of each question made once.

For what is asked at every step of every run and at every turn of a stage: there, making the SQL with the ORM took ten
times as long as running it. Names are those of fields or columns (`stream`, `stream_id`). A value to look for is never
None; a list, tuple or set of them means any one of these. A row that is read is a whole instance of its model, as the
ORM makes it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, TypeVar

from django.db import connection, models
from django.db.models import F, Value
from django.db.models.functions import Coalesce

Row = TypeVar("Row", bound=models.Model)

_SHAPES: Final = 1024
"""Kept at most: one for each number of values that was looked for at once."""


@dataclass(frozen=True)
class More:
    """What the column has, and so much more."""

    value: int


@dataclass(frozen=True)
class Unless:
    """What the column has; where that is nothing, this."""

    value: Any


_FORMS: Final = {More: "{0} = {0} + %s", Unless: "{0} = COALESCE({0}, %s)"}


def select(model: type[Row], where: Mapping[str, Any], *, order: Sequence[str] = (), lock: bool = False) -> list[Row]:
    """Rows whose columns have these values, in the order of these columns ("-" for the largest first); with `lock` held
    until the transaction ends."""
    fields = model._meta.concrete_fields
    sql = _selecting(model, _shape(where), tuple(order), lock and connection.features.has_select_for_update)
    with connection.cursor() as cursor:
        cursor.execute(sql, list(_wanted(model, where)))
        found = list(map(list, cursor.fetchall()))
    for at in _converted(model, connection.vendor):
        column = fields[at].get_col(model._meta.db_table)
        for convert in _converters(column):
            for row in found:
                row[at] = convert(row[at], column, connection)
    names = [field.attname for field in fields]
    return [model.from_db(connection.alias, names, row) for row in found]


def update(model: type[models.Model], where: Mapping[str, Any], changes: Mapping[str, Any]) -> int:
    """Set columns (to a value, More or Unless) of the rows whose columns have these values; how many there were."""
    forms = tuple((name, _FORMS.get(type(value), "{0} = %s")) for name, value in changes.items())
    plain = {name: value.value if isinstance(value, More | Unless) else value for name, value in changes.items()}
    values = [_given(model, name, value) for name, value in plain.items()]
    with connection.cursor() as cursor:
        cursor.execute(_updating(model, _shape(where), forms), [*values, *_wanted(model, where)])
        return int(cursor.rowcount)


def save(row: models.Model) -> None:
    """All columns of a row, new or not, as it stands."""
    if row._state.adding:
        row.save()
        return
    key = row._meta.pk.attname
    columns = [field.attname for field in row._meta.concrete_fields if field.attname != key]
    update(type(row), {key: row.pk}, {name: getattr(row, name) for name in columns})


def expressions(changes: Mapping[str, Any]) -> dict[str, Any]:
    """The same changes for an update by the ORM."""
    return {name: _expression(name, value) for name, value in changes.items()}


def _expression(name: str, value: Any) -> Any:
    match value:
        case More(by):
            return F(name) + by
        case Unless(other):
            return Coalesce(F(name), Value(other))
        case _:
            return value


def _shape(where: Mapping[str, Any]) -> tuple[tuple[str, int | None], ...]:
    """Each name, and how many values it may have; None where it is one."""
    return tuple((name, len(value) if _is_many(value) else None) for name, value in where.items())


def _wanted(model: type[models.Model], where: Mapping[str, Any]) -> Iterator[Any]:
    for name, value in where.items():
        for one in value if _is_many(value) else (value,):
            yield _given(model, name, one)


def _is_many(value: Any) -> bool:
    return isinstance(value, list | tuple | set | frozenset)


def _given(model: type[models.Model], name: str, value: Any) -> Any:
    field = _field(model, name)
    if isinstance(value, models.Model):
        value = value.pk
    return field.get_db_prep_save(value, connection)


@lru_cache(_SHAPES)
def _selecting(
    model: type[models.Model], where: tuple[tuple[str, int | None], ...], order: tuple[str, ...], lock: bool
) -> str:
    columns = ", ".join(_column(model, field.attname) for field in model._meta.concrete_fields)
    by = ", ".join(_column(model, name.removeprefix("-")) + " DESC" * name.startswith("-") for name in order)
    tail = (f" ORDER BY {by}" if by else "") + (" FOR UPDATE" if lock else "")
    return f"SELECT {columns} FROM {_quoted(model._meta.db_table)}{_like(model, where)}{tail}"  # noqa: S608


@lru_cache(_SHAPES)
def _updating(
    model: type[models.Model], where: tuple[tuple[str, int | None], ...], forms: tuple[tuple[str, str], ...]
) -> str:
    changes = ", ".join(form.format(_column(model, name)) for name, form in forms)
    return f"UPDATE {_quoted(model._meta.db_table)} SET {changes}{_like(model, where)}"  # noqa: S608


def _like(model: type[models.Model], where: tuple[tuple[str, int | None], ...]) -> str:
    conditions = []
    for name, count in where:
        if count == 0:
            conditions.append("1 = 0")
        elif count is None:
            conditions.append(f"{_column(model, name)} = %s")
        else:
            conditions.append(f"{_column(model, name)} IN ({', '.join(['%s'] * count)})")
    return f" WHERE {' AND '.join(conditions)}" if conditions else ""


@lru_cache(_SHAPES)
def _field(model: type[models.Model], name: str) -> Any:
    return next(field for field in model._meta.concrete_fields if name in (field.attname, field.name))


@lru_cache(_SHAPES)
def _converted(model: type[models.Model], vendor: str) -> list[int]:
    """Columns that this database gives other than the model has them."""
    table = model._meta.db_table
    return [at for at, field in enumerate(model._meta.concrete_fields) if _converters(field.get_col(table))]


def _converters(column: Any) -> list[Any]:
    return [*connection.ops.get_db_converters(column), *column.get_db_converters(connection)]


def _column(model: type[models.Model], name: str) -> str:
    return _quoted(_field(model, name).column)


def _quoted(name: str) -> str:
    return f'"{name}"'
