"""PostgreSQL's types, as a result describes its columns, and the columns that hold them exactly.

Where the choice is ours: a `numeric` without precision (also what `sum` returns) is exact text of kind
`decimal`, since its digits have no bound; `timestamptz` is an instant in UTC; `interval`, `timetz`, `money`,
`uuid`, arrays, ranges, composites, enums and every type that we do not know keep PostgreSQL's own text.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa
from psycopg.postgres import types

from reporthub_dagster.connectors import arrow_columns, postgresql_binary
from reporthub_dagster.connectors.arrow_columns import TextColumn
from reporthub_dagster.storage.spool import text_field

Make = Callable[[str, int], TextColumn]
"""Column name, type modifier → column."""


@dataclass(frozen=True, slots=True)
class WireColumn:
    """A column of a result as it is asked for.

    Attributes:
        column: What becomes of its values.
        binary: True where they come in their type's own binary form, false where as its text.
        stored: The numpy type of that form where it has a fixed width.
    """

    column: TextColumn
    binary: bool = False
    stored: str | None = None


def text_column_of(name: str, oid: int, modifier: int) -> WireColumn:
    """The column for a field of a result that comes as text."""
    return WireColumn(_COLUMNS.get(oid, _characters)(name, modifier))


def column_of(name: str, oid: int, modifier: int) -> WireColumn:
    """The column for a field of a result; of the same type as in text."""
    if oid not in _BINARY:
        return text_column_of(name, oid, modifier)
    stored, make = _BINARY[oid]
    return WireColumn(make(name, modifier), binary=True, stored=stored)


def _integer(kind: pa.DataType) -> Make:
    return lambda name, _: arrow_columns.integer(name, kind)


def _number(kind: pa.DataType) -> Make:
    return lambda name, _: postgresql_binary.number(name, kind)


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
_BINARY: dict[int, tuple[str | None, Make]] = {
    types[word].oid: made
    for word, made in {
        "bool": ("u1", lambda name, _: postgresql_binary.boolean(name)),
        "int2": (">i2", _number(pa.int16())),
        "int4": (">i4", _number(pa.int32())),
        "int8": (">i8", _number(pa.int64())),
        "oid": (">u4", _number(pa.uint32())),
        "float8": (">f8", _number(pa.float64())),
        "date": (">i4", lambda name, _: postgresql_binary.date(name)),
        "time": (">i8", lambda name, _: postgresql_binary.time_of_day(name)),
        "timestamp": (">i8", lambda name, _: postgresql_binary.timestamp(name)),
        "timestamptz": (">i8", lambda name, _: postgresql_binary.timestamp(name, "UTC")),
        "bytea": (None, lambda name, _: arrow_columns.binary(name)),
        "json": (None, _json),
        "text": (None, _characters),
        "varchar": (None, _characters),
        "bpchar": (None, _characters),
    }.items()
}
"""Types whose binary form is what we make of them; single precision is not: its digits are the value."""
