"""How PostgreSQL keeps the packed columns."""

from typing import Any, Final

COLUMNS: Final = {
    "monitoring_metricchunk": ("steps", "times", "since"),
    "monitoring_metriccolumn": ("coarse", "fine", "values"),
}


def keep_uncompressed(apps: Any, schema_editor: Any) -> None:
    """For the first migration. Floats hardly shrink, and trying it would halve the speed of taking them in."""
    if schema_editor.connection.vendor != "postgresql":
        return
    for table, columns in COLUMNS.items():
        for column in columns:
            schema_editor.execute(f'ALTER TABLE {table} ALTER COLUMN "{column}" SET STORAGE EXTERNAL')
