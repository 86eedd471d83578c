"""BigQuery's types: what its values become, and how values of a query are sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from google.cloud.bigquery import ScalarQueryParameter, SchemaField

from reporthub_dagster.connectors.nested_values import json_text
from reporthub_dagster.reporting.bound_query import BoundQuery
from reporthub_dagster.storage.spool import distinct_names, text_field

_PLAIN: dict[str, pa.DataType] = {
    "INTEGER": pa.int64(),
    "INT64": pa.int64(),
    "FLOAT": pa.float64(),
    "FLOAT64": pa.float64(),
    "BOOLEAN": pa.bool_(),
    "BOOL": pa.bool_(),
    "BYTES": pa.binary(),
    "DATE": pa.date32(),
    "TIME": pa.time64("us"),
    "DATETIME": pa.timestamp("us"),
    "TIMESTAMP": pa.timestamp("us", "UTC"),
}
_DECIMALS = frozenset({"NUMERIC", "BIGNUMERIC", "DECIMAL", "BIGDECIMAL"})
_DOCUMENTS = frozenset({"RECORD", "STRUCT"})
_INT64_BITS = 63
_NUMERIC_DIGITS, _NUMERIC_SCALE = 29, 9
"""Before and after the point: what NUMERIC holds."""


def schema_of(fields: Sequence[SchemaField]) -> pa.Schema:
    """The columns of a result."""
    names = distinct_names([field.name for field in fields])
    return pa.schema([_field(name, field) for name, field in zip(names, fields, strict=True)])


def batch_of(fields: Sequence[SchemaField], batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """A batch of the client as one of `schema`; may raise `pa.ArrowInvalid`."""
    made = [
        _array(column, field, target)
        for column, field, target in zip(batch.columns, fields, schema, strict=True)
    ]
    return pa.record_batch(made, schema=schema)


def parameters_of(query: BoundQuery) -> list[ScalarQueryParameter]:
    """The values of a query, by name.

    Days and local times are STRING parameters: BigQuery coerces those to DATE, DATETIME or TIMESTAMP,
    whichever they are compared with, and typed ones to nothing else.
    """
    return [_parameter(name, value) for name, value in query.values.items() if value is not None]


def text_of(query: BoundQuery) -> str:
    """The SQL with `@name` for its values; NULL, which has no type of its own, as it is."""
    return "".join(
        part if isinstance(part, str) else "NULL" if part.value is None else f"@{part.name}"
        for part in query.parts
    )


def _parameter(name: str, value: Any) -> ScalarQueryParameter:
    if isinstance(value, bool):
        return ScalarQueryParameter(name, "BOOL", value)
    if isinstance(value, int):
        kind = "INT64" if value.bit_length() <= _INT64_BITS else "BIGNUMERIC"
        return ScalarQueryParameter(name, kind, value if kind == "INT64" else Decimal(value))
    if isinstance(value, Decimal):
        fits = value.adjusted() < _NUMERIC_DIGITS and -int(value.as_tuple().exponent) <= _NUMERIC_SCALE
        return ScalarQueryParameter(name, "NUMERIC" if fits else "BIGNUMERIC", value)
    if isinstance(value, datetime):
        if value.tzinfo is not None:
            return ScalarQueryParameter(name, "TIMESTAMP", value)
        return ScalarQueryParameter(name, "STRING", value.isoformat(sep=" "))
    kinds: Mapping[type, str] = {float: "FLOAT64", time: "TIME", bytes: "BYTES"}
    kind = kinds.get(type(value), "STRING")
    return ScalarQueryParameter(name, kind, value if kind != "STRING" else _plain(value))


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, date) else str(value)


def _field(name: str, field: SchemaField) -> pa.Field:
    kind = field.field_type.upper()
    if field.mode == "REPEATED" or kind in _DOCUMENTS or kind == "JSON":
        return text_field(name, "json")
    if kind in _DECIMALS:
        if field.precision is None:
            return text_field(name, "decimal")
        scale = field.scale or 0
        wide = field.precision > 38  # noqa: PLR2004 - Arrow's digits
        return pa.field(name, (pa.decimal256 if wide else pa.decimal128)(field.precision, scale))
    return pa.field(name, _PLAIN.get(kind, pa.utf8()))


def _array(values: pa.Array, field: SchemaField, target: pa.Field) -> pa.Array:
    kind = field.field_type.upper()
    if isinstance(values, pa.ExtensionArray):
        values = values.storage
    if pa.types.is_null(values.type):
        return pa.nulls(len(values), target.type)
    if field.mode == "REPEATED" or kind in _DOCUMENTS:
        return _texts(values, lambda value: json_text(_meant(value)))
    if pa.types.is_decimal(values.type) and pa.types.is_string(target.type):
        return _digits(values)
    if kind == "INTERVAL":
        return _texts(values, _interval)
    if kind == "RANGE" and pa.types.is_struct(values.type):
        return _texts(values, lambda value: f"[{_end(value['start'])}, {_end(value['end'])})")
    return values if values.type == target.type else pc.cast(values, target.type)


def _digits(values: pa.Array) -> pa.Array:
    """Decimals as BigQuery shows them: without the zeros that fill up its fixed scale, and no exponent."""
    texts = pc.cast(values, pa.utf8())
    if pc.any(pc.match_substring(texts, "E")).as_py():
        texts = _texts(values, lambda value: f"{value:f}")
    return pc.utf8_rtrim(pc.utf8_rtrim(texts, "0"), ".")


def _texts(values: Iterable[Any], write: Any) -> pa.Array:
    plain = (value.as_py() for value in values)
    return pa.array([None if value is None else write(value) for value in plain], pa.utf8())


def _meant(value: Any) -> Any:
    """A nested value as JSON has it: exact numbers as BigQuery shows them, and intervals as text."""
    if isinstance(value, Mapping):
        return {key: _meant(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_meant(inner) for inner in value]
    if isinstance(value, Decimal):
        return value.normalize() if value else Decimal(0)
    return _interval(value) if isinstance(value, pa.MonthDayNano) else value


def _interval(value: pa.MonthDayNano) -> str:
    """Years-months days hours:minutes:seconds, as BigQuery writes an INTERVAL."""
    years, months = divmod(abs(value.months), 12)
    seconds, micros = divmod(abs(value.nanoseconds) // 1000, 1_000_000)
    clock = f"{seconds // 3600}:{seconds // 60 % 60}:{seconds % 60}"
    fraction = f".{micros:06}".rstrip("0") if micros else ""
    signs = ["-" if number < 0 else "" for number in (value.months, value.nanoseconds)]
    return f"{signs[0]}{years}-{months} {value.days} {signs[1]}{clock}{fraction}"


def _end(value: Any) -> str:
    """An end of a RANGE."""
    return "UNBOUNDED" if value is None else str(value)
