"""A spool as a table of an engine, with the types that its text kinds mean."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from reporthub_dagster.storage.spool import Spool, text_kind

_MOST_DIGITS = 38


def attach_spool(connection: duckdb.DuckDBPyConnection, name: str, path: Path) -> None:
    """Make a spool a table: streamed from disk, its exact decimals numbers and its documents JSON.

    Decimals of more digits than DuckDB has are text.
    """
    spool = Spool.open(path)
    wide = [field.name for field in spool.schema if pa.types.is_decimal256(field.type)]
    connection.register(f"spool of {name}", _Stream(spool, frozenset(wide)))
    chosen = ", ".join(_selected(spool, field, wide) for field in spool.schema)
    connection.execute(f"CREATE VIEW {quoted(name)} AS SELECT {chosen} FROM {quoted(f'spool of {name}')}")


class _Stream:
    """A spool as engines take Arrow's streams: read batch by batch, from the start with each scan.

    Not pyarrow's dataset, which reads a whole IPC file ahead.

    Args:
        spool: What is read.
        as_text: Columns that the engine has no type for.
    """

    def __init__(self, spool: Spool, as_text: frozenset[str]) -> None:
        self._spool = spool
        fields = [pa.field(one.name, pa.utf8()) if one.name in as_text else one for one in spool.schema]
        self._schema = pa.schema(fields)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        batches = (batch.cast(self._schema) for batch in self._spool.batches())
        return pa.RecordBatchReader.from_batches(self._schema, batches).__arrow_c_stream__(requested_schema)


def quoted(name: str) -> str:
    """A name as SQL has it."""
    return '"{}"'.format(name.replace('"', '""'))


def _selected(spool: Spool, field: pa.Field, wide: list[str]) -> str:
    name, kind = quoted(field.name), text_kind(field)
    if kind == "json":
        return f"CAST({name} AS JSON) AS {name}"
    if kind == "decimal" or field.name in wide:
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
