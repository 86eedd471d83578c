"""Snowflake's types: what the driver's Arrow columns become."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from reporthub_dagster.connectors.fitting import fitted
from reporthub_dagster.storage.spool import distinct_names, text_field

FIXED, REAL, TEXT, DATE, TIMESTAMP, VARIANT, LTZ, TZ, NTZ, OBJECT, ARRAY, BINARY, TIME, BOOLEAN = range(14)
"""The driver's codes of types."""
_PLAIN: dict[int, pa.DataType] = {
    REAL: pa.float64(),
    DATE: pa.date32(),
    TIMESTAMP: pa.timestamp("us"),
    NTZ: pa.timestamp("us"),
    LTZ: pa.timestamp("us", "UTC"),
    TZ: pa.timestamp("us", "UTC"),
    BINARY: pa.binary(),
    TIME: pa.time64("us"),
    BOOLEAN: pa.bool_(),
}
_DOCUMENTS = frozenset({VARIANT, OBJECT, ARRAY})
_INT64_DIGITS = 18


def schema_of(description: Sequence[Any], wider: dict[int, pa.Field]) -> pa.Schema:
    """The columns of a result.

    Args:
        description: As the driver's cursor has it.
        wider: Column position → field, of a query that starts again.
    """
    names = distinct_names([_known_as(column.name) for column in description])
    made = [_field(name, column) for name, column in zip(names, description, strict=True)]
    return pa.schema([wider.get(position, field) for position, field in enumerate(made)])


def batch_of(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """A batch of the driver as one of `schema`.

    Raises:
        TypeMisfit: A moment has more digits than microseconds.
    """
    return fitted(schema, lambda n: batch.column(n).cast(schema.field(n).type))


def _known_as(name: str) -> str:
    """A name as SQLAlchemy has it: one in capital letters, which nobody quoted, in small ones."""
    return name.lower() if name == name.upper() else name


def _field(name: str, column: Any) -> pa.Field:
    code = column.type_code
    if code in _DOCUMENTS:
        return text_field(name, "json")
    if code != FIXED:
        return pa.field(name, _PLAIN.get(code, pa.utf8()))
    if not column.scale and column.precision <= _INT64_DIGITS:
        return pa.field(name, pa.int64())
    return pa.field(name, pa.decimal128(column.precision, column.scale))
