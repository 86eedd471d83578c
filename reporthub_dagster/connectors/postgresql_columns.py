"""PostgreSQL's types, as a result describes its columns, and the columns that hold them exactly.

Where the choice is ours: a `numeric` without precision (also what `sum` returns) is exact text of kind
`decimal`, since its digits have no bound; `timestamptz` is an instant in UTC; `interval`, `timetz`, `money`,
`uuid`, arrays, ranges, composites, enums and every type that we do not know keep PostgreSQL's own text.
"""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
from psycopg.postgres import types

from reporthub_dagster.connectors import arrow_columns
from reporthub_dagster.connectors.arrow_columns import TextColumn
from reporthub_dagster.storage.spool import text_field

Make = Callable[[str, int], TextColumn]
"""Column name, type modifier → column."""


def column_of(name: str, oid: int, modifier: int) -> TextColumn:
    """The column for a field of a result."""
    return _COLUMNS.get(oid, _characters)(name, modifier)


def _integer(kind: pa.DataType) -> Make:
    return lambda name, _: arrow_columns.integer(name, kind)


def _characters(name: str, _: int) -> TextColumn:
    return arrow_columns.text(pa.field(name, pa.utf8()))


def _json(name: str, _: int) -> TextColumn:
    return arrow_columns.text(text_field(name, "json"))


def _numeric(name: str, modifier: int) -> TextColumn:
    """The modifier packs precision and scale above a header (numeric.c, `make_numeric_typmod`)."""
    if modifier < _HEADER:
        return arrow_columns.text(text_field(name, "decimal"))
    packed = modifier - _HEADER
    scale = (packed & _SCALE) - (packed & _SCALE_SIGN) * 2
    return arrow_columns.decimal(name, packed >> 16 & 0xFFFF, scale)


_HEADER = 4
_SCALE, _SCALE_SIGN = 0x7FF, 0x400
_COLUMNS: dict[int, Make] = {
    types[word].oid: make
    for word, make in {
        "bool": lambda name, _: arrow_columns.boolean(name),
        "int2": _integer(pa.int16()),
        "int4": _integer(pa.int32()),
        "int8": _integer(pa.int64()),
        "oid": _integer(pa.uint32()),
        "float4": lambda name, _: arrow_columns.floating(name),
        "float8": lambda name, _: arrow_columns.floating(name),
        "numeric": _numeric,
        "date": lambda name, _: arrow_columns.date(name),
        "time": lambda name, _: arrow_columns.time_of_day(name),
        "timestamp": lambda name, _: arrow_columns.timestamp(name),
        "timestamptz": lambda name, _: arrow_columns.instant(name),
        "bytea": lambda name, _: arrow_columns.hexadecimal(name),
        "json": _json,
        "jsonb": _json,
    }.items()
}
