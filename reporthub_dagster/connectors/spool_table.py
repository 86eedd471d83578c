"""A spool as a table of an engine, with the types that its text kinds mean."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from reporthub_dagster.storage.spool import Spool, distinct_names, text_kind

_MOST_DIGITS = 38


def attach_spool(connection: duckdb.DuckDBPyConnection, name: str, path: Path) -> None:
    """Make a spool a table: streamed from disk, its exact decimals numbers and its documents JSON.

    Decimals of more digits than DuckDB has are text. It takes `ID` and `id` for one: the second is `id_2`.
    """
    spool = Spool.open(path)
    names = distinct_names(spool.schema.names, str.lower)
    connection.register(f"spool of {name}", _Stream(spool, names))
    chosen = ", ".join(_selected(spool, *pair) for pair in zip(spool.schema, names, strict=True))
    connection.execute(f"CREATE VIEW {quoted(name)} AS SELECT {chosen} FROM {quoted(f'spool of {name}')}")


class _Stream:
    """A spool as engines take Arrow's streams: read batch by batch, from the start with each scan.

    Not pyarrow's dataset, which reads a whole IPC file ahead.

    Args:
        spool: What is read.
        names: What its columns are called.
    """

    def __init__(self, spool: Spool, names: list[str]) -> None:
        self._spool = spool
        fields = zip(names, spool.schema, strict=True)
        self._schema = pa.schema(
            [(name, pa.utf8() if _is_wide(field) else field.type) for name, field in fields]
        )

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        names = self._schema.names
        batches = (batch.rename_columns(names).cast(self._schema) for batch in self._spool.batches())
        return pa.RecordBatchReader.from_batches(self._schema, batches).__arrow_c_stream__(requested_schema)


def quoted(name: str) -> str:
    """A name as SQL has it."""
    return '"{}"'.format(name.replace('"', '""'))


def _is_wide(field: pa.Field) -> bool:
    wide: bool = pa.types.is_decimal256(field.type)
    return wide


def _selected(spool: Spool, field: pa.Field, column: str) -> str:
    name, kind = quoted(column), text_kind(field)
    if kind == "json":
        return f"CAST({name} AS JSON) AS {name}"
    if kind == "decimal" or _is_wide(field):
        digits = _digits(spool, field.name)
        return f"CAST({name} AS DECIMAL{digits}) AS {name}" if digits else name
    return name


def _digits(spool: Spool, column: str) -> tuple[int, int] | None:
    """Precision and scale that hold every value of a column; None where there are none."""
    whole = scale = 0
    for batch in spool.batches([column]):
        texts = batch.column(0).cast(pa.utf8())
        found = pc.extract_regex(texts, r"^-?(?P<whole>\d+)(?:\.(?P<fraction>\d+))?$")
        if found.null_count > texts.null_count:
            return None
        whole = max(whole, _longest(found, "whole"))
        scale = max(scale, _longest(found, "fraction"))
    precision = max(whole + scale, 1)
    return (precision, scale) if precision <= _MOST_DIGITS else None


def _longest(found: pa.Array, part: str) -> int:
    return int(pc.max(pc.utf8_length(pc.struct_field(found, part))).as_py() or 0)
