"""How PostgreSQL keeps the packed columns."""

from typing import Any, Final

COLUMNS: Final = {
    "monitoring_metricchunk": ("steps", "times", "since"),
    "monitoring_metriccolumn": ("coarse", "fine", "values"),
}
_PAGE: Final = 8160
"""The most that PostgreSQL takes."""


def keep_uncompressed(apps: Any, schema_editor: Any) -> None:
    """For the first migration. Floats hardly shrink, and trying it would halve the speed of taking them in. What fits
    into a page stays in its row: fetched from beside the table, in portions of 2 KB, it took a third longer."""
    if schema_editor.connection.vendor != "postgresql":
        return
    for table, columns in COLUMNS.items():
        schema_editor.execute(f"ALTER TABLE {table} SET (toast_tuple_target = {_PAGE})")
        for column in columns:
            schema_editor.execute(f'ALTER TABLE {table} ALTER COLUMN "{column}" SET STORAGE EXTERNAL')
