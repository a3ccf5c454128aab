"""Datasets in the form that verl reads. Runs in the training environment (pyarrow)."""

import json
import os
from typing import Any

import pyarrow
import pyarrow.parquet


class BadDataError(ValueError):
    """A line cannot be read. The message has file and line number."""


def read_jsonl(path: str) -> list[dict[str, Any]]:
    """All rows of a JSONL file, empty lines left out. Raises BadDataError, OSError."""
    rows = []
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise BadDataError(f"{path}, line {number}: {error}") from error
            if not isinstance(row, dict):
                raise BadDataError(f"{path}, line {number}: an object was expected")
            rows.append(row)
    if not rows:
        raise BadDataError(f"{path}: no rows")
    return rows


def to_parquet(path: str, folder: str) -> str:
    """A parquet file in `folder` with the rows of the JSONL file `path`; its path.

    In memory at once, as verl reads it afterwards. Two processes may do so at the same time.
    """
    os.makedirs(folder, exist_ok=True)
    name = os.path.splitext(os.path.basename(path))[0]
    target = os.path.join(folder, f"{name}.parquet")
    temporary = f"{target}.{os.getpid()}"
    try:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(read_jsonl(path)), temporary)
    except pyarrow.ArrowException as error:
        raise BadDataError(f"{path}: the rows do not fit one table: {error}") from error
    os.replace(temporary, target)
    return target
