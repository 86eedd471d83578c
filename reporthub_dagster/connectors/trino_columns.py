"""Trino's types: what the values of its protocol become, none of them rounded or cut.

https://trino.io/docs/current/develop/client-protocol.html: numbers are JSON's, all else is text.
What a column type cannot hold (picoseconds, years beyond 9999, a local time that happened twice) makes the
query start again with that column as Trino's own text.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from reporthub_dagster.connectors import arrow_columns
from reporthub_dagster.connectors.arrow_columns import TextColumn
from reporthub_dagster.connectors.fitting import fitted
from reporthub_dagster.connectors.nested_values import json_text
from reporthub_dagster.storage.spool import text_field

Signature = Mapping[str, Any]
"""A type as the protocol writes it: `rawType` and `arguments`."""
_ZEROS = r"(\.\d{6})0+"
"""Digits beyond microseconds that say nothing."""
_LOCAL_AND_ZONE = r"^(?P<local>.+?) ?(?P<zone>[+-]\d\d:\d\d|[^ ]+)$"
_PLAIN: dict[str, pa.DataType] = {
    "boolean": pa.bool_(),
    "tinyint": pa.int8(),
    "smallint": pa.int16(),
    "integer": pa.int32(),
    "bigint": pa.int64(),
    "real": pa.float64(),
    "double": pa.float64(),
    **dict.fromkeys(("varbinary", "hyperloglog", "qdigest", "tdigest", "setdigest"), pa.binary()),
}
_DOCUMENTS = frozenset({"array", "map", "row"})
_YEAR_ONE = pa.scalar("0001-01-01").cast(pa.timestamp("us"))


@dataclass(frozen=True, slots=True)
class TrinoColumn:
    """A column of a result.

    Attributes:
        field: As the spool has it.
        array: Its values of a page as the field's; raises `pa.ArrowInvalid` for one that does not fit.
    """

    field: pa.Field
    array: Callable[[Sequence[Any]], pa.Array]


def column_of(name: str, signature: Signature, wider: pa.Field | None = None) -> TrinoColumn:
    """The column that a type makes.

    Args:
        name: Its name in the result.
        signature: Its type.
        wider: The field of a query that starts again.
    """
    if wider is not None:
        return TrinoColumn(wider, _simple(pa.utf8()))
    kind = str(signature["rawType"])
    if kind in _TEXTS:
        return _from_text(_TEXTS[kind](name, signature), kind)
    if kind in _DOCUMENTS:
        return TrinoColumn(text_field(name, "json"), lambda values: _documents(values, signature))
    field = pa.field(name, _PLAIN.get(kind, pa.utf8()))
    if kind in ("json", "number"):
        field = text_field(name, "json" if kind == "json" else "decimal")
    special = {pa.float64(): _doubles, pa.binary(): _bytes}
    return TrinoColumn(field, special.get(field.type, _simple(field.type)))


def batch_of(
    columns: Sequence[TrinoColumn], rows: Sequence[Sequence[Any]], schema: pa.Schema
) -> pa.RecordBatch:
    """Rows of a page as a batch of `schema`.

    Raises:
        TypeMisfit: A value does not fit its column's type.
    """
    return fitted(schema, lambda n: columns[n].array([row[n] for row in rows]))


def _simple(kind: pa.DataType) -> Callable[[Sequence[Any]], pa.Array]:
    return lambda values: pa.array(values, kind)


def _doubles(values: Sequence[Any]) -> pa.Array:
    """Numbers; `NaN` and the infinities come as text."""
    return pa.array([float(value) if isinstance(value, str) else value for value in values], pa.float64())


def _bytes(values: Sequence[Any]) -> pa.Array:
    plain = [None if value is None else base64.b64decode(value) for value in values]
    return pa.array(plain, pa.binary())


def _decimal(name: str, signature: Signature) -> TextColumn:
    precision, scale = (int(argument["value"]) for argument in signature["arguments"])
    return arrow_columns.decimal(name, precision, scale)


_TEXTS: dict[str, Callable[[str, Signature], TextColumn]] = {
    "decimal": _decimal,
    "date": lambda name, _: arrow_columns.date(name),
    "time": lambda name, _: arrow_columns.time_of_day(name),
    "timestamp": lambda name, _: arrow_columns.timestamp(name),
    "timestamp with time zone": lambda name, _: arrow_columns.instant(name),
}


def _from_text(column: TextColumn, kind: str) -> TrinoColumn:
    def array(values: Sequence[Any]) -> pa.Array:
        texts = pa.array(values, pa.utf8())
        if kind.startswith("time"):
            texts = pc.replace_substring_regex(texts, _ZEROS, r"\1")
        if kind == "timestamp with time zone":
            return _instants(texts)
        made, lost = column.convert(texts)
        if lost or (kind in ("date", "timestamp") and _is_before_year_one(made)):
            raise pa.ArrowInvalid("not a moment of the years 1 to 9999")
        return made

    return TrinoColumn(column.field, array)


def _is_before_year_one(moments: pa.Array) -> bool:
    return bool(pc.any(pc.less(pc.cast(moments, pa.timestamp("us")), _YEAR_ONE)).as_py())


def _instants(texts: pa.Array) -> pa.Array:
    """`2024-02-29 12:00:00.000000 Asia/Jakarta` (or `+07:00`, or `UTC`) → timestamp[us, UTC].

    A local time that its zone had twice, or never, raises: which instant is meant cannot be told.
    """
    kind = pa.timestamp("us", "UTC")
    parts = pc.extract_regex(texts, _LOCAL_AND_ZONE)
    local, zones = (
        pc.cast(pc.struct_field(parts, "local"), pa.timestamp("us")),
        pc.struct_field(parts, "zone"),
    )
    if _is_before_year_one(local):
        raise pa.ArrowInvalid("not a moment of the years 1 to 9999")
    instants = pa.nulls(len(texts), kind)
    for zone in pc.unique(zones).drop_null().to_pylist():
        here = pc.if_else(pc.equal(zones, zone), local, pa.scalar(None, local.type))
        instants = pc.coalesce(instants, pc.cast(pc.assume_timezone(here, zone), kind))
    return instants


def _documents(values: Sequence[Any], signature: Signature) -> pa.Array:
    texts = [None if value is None else json_text(_meant(value, signature)) for value in values]
    return pa.array(texts, pa.utf8())


def _meant(value: Any, signature: Signature) -> Any:
    """A nested value as JSON has it: rows by the names of their fields, decimals as numbers."""
    kind = signature["rawType"] if value is not None else ""
    inner = [argument["value"] for argument in signature.get("arguments", ())]
    if kind == "array":
        return [_meant(item, inner[0]) for item in value]
    if kind == "map":
        return {key: _meant(item, inner[1]) for key, item in value.items()}
    if kind == "row":
        return _row(value, inner)
    if kind == "json":
        return json.loads(value, parse_float=Decimal)
    return Decimal(value) if kind in ("decimal", "number") else value


def _row(values: Sequence[Any], fields: Sequence[Mapping[str, Any]]) -> Any:
    """An object; a list where the fields have no names, or the same."""
    items = [_meant(item, one["typeSignature"]) for item, one in zip(values, fields, strict=True)]
    names = {(one.get("fieldName") or {}).get("name") for one in fields} - {None}
    if len(names) < len(fields):
        return items
    return {one["fieldName"]["name"]: item for one, item in zip(fields, items, strict=True)}
