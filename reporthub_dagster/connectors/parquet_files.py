"""Parquet files as one table, whose columns are the same in each: DuckDB goes by the first file alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import duckdb

from reporthub_dagster.connectors.duckdb_engine import literal
from reporthub_dagster.reporting.errors import PermanentError

_MOST_DIGITS = 38
_INTEGERS = frozenset(f"{sign}{size}INT" for sign in ("", "U") for size in ("TINY", "SMALL", "BIG")) | {
    "INTEGER",
    "UINTEGER",
}


def parquet_select(connection: duckdb.DuckDBPyConnection, files: Mapping[Path, str]) -> str:
    """A SELECT of the rows of the files, one after the other.

    Args:
        connection: An engine that may read them.
        files: Each with what people call it.

    Raises:
        PermanentError: They have different columns, or one that DuckDB does not read exactly.
        duckdb.Error: A file is broken.
    """
    kinds = {name: _kinds(connection, path, name) for path, name in files.items()}
    first, columns = next(iter(kinds.items()))
    for name, other in kinds.items():
        if _alike(other) != _alike(columns):
            shown, wanted = _differing(other, columns), _differing(columns, other)
            raise PermanentError(
                f"the file {name} has {shown or 'no more columns'}, where {first} has {wanted or 'none'}"
            )
    paths = ", ".join(literal(path) for path in files)
    wider = ", union_by_name = true" if any(other != columns for other in kinds.values()) else ""
    return f"SELECT * FROM read_parquet([{paths}]{wider})"


def _kinds(connection: duckdb.DuckDBPyConnection, path: Path, name: str) -> dict[str, str]:
    """Column → type of a file."""
    file = literal(path)
    wide = connection.sql(f"SELECT name FROM parquet_schema({file}) WHERE precision > {_MOST_DIGITS}")
    for (column,) in wide.fetchall():
        raise PermanentError(
            f"the file {name} has decimals of more than {_MOST_DIGITS} digits in the column {column}; "
            "write it as text"
        )
    relation = connection.sql(f"SELECT * FROM read_parquet({file})")
    return dict(zip(relation.columns, map(str, relation.types), strict=True))


def _alike(kinds: Mapping[str, str]) -> dict[str, str]:
    """Whole numbers of different width are of one type, the widest."""
    return {name: "integer" if kind in _INTEGERS else kind for name, kind in kinds.items()}


def _differing(kinds: Mapping[str, str], other: Mapping[str, str]) -> str:
    mine, others = _alike(kinds), _alike(other)
    return ", ".join(f"{name} {kind}" for name, kind in kinds.items() if mine[name] != others.get(name))
