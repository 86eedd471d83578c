"""Rows that PostgreSQL sends as one text each, taken apart by Arrow's reader of CSV.

A composite value prints like a line of CSV (record_out, https://www.postgresql.org/docs/current/rowtypes.html):
nothing for NULL, quotes around what is empty or holds a delimiter, each field by its type's own output. Only
backslashes are doubled, which Arrow does not know. One value a row costs libpq and Python a fraction of a
value a cell, and the query's own values are still bound.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

_BACKSLASH = b"\\"


def in_one_column(sql: str) -> str:
    """A query whose rows are those of `sql`, each as one text.

    The fields of ours at both ends stand beside the parentheses, so that these are fields of their own.
    """
    return f"SELECT ROW(NULL, rows_.*, NULL)::text FROM (\n{sql}\n) AS rows_"


def cells_of(rows: Sequence[bytes], columns: int) -> list[pa.Array]:
    """One binary array for each column of the rows of `in_one_column`."""
    data = b"\n".join(rows)
    names = [str(position) for position in range(columns)]
    table = csv.read_csv(
        pa.BufferReader(data),
        csv.ReadOptions(use_threads=False, block_size=len(data) + 1, column_names=["(", *names, ")"]),
        csv.ParseOptions(newlines_in_values=True),
        csv.ConvertOptions(
            include_columns=names,
            column_types=dict.fromkeys(names, pa.binary()),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )
    arrays = [column.combine_chunks() for column in table.columns]
    return [_single(array) for array in arrays] if _BACKSLASH in data else arrays


def _single(array: pa.Array) -> pa.Array:
    """With one backslash for two."""
    return pc.replace_substring(array, pattern=_BACKSLASH * 2, replacement=_BACKSLASH)
