"""ClickHouse's types: what is asked of the server for each, and what its Arrow columns become."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from reporthub_dagster.connectors.arrow_columns import utf8_of
from reporthub_dagster.connectors.fitting import fitted
from reporthub_dagster.storage.spool import text_field

_WRAPPERS = re.compile(r"^(?:Nullable|LowCardinality|SimpleAggregateFunction\(\w+,)\s*\(?(.*)\)$", re.DOTALL)
_INSTANT = pa.timestamp("us", "UTC")
_AS_IS = {
    "Int8": pa.int8(),
    "Int16": pa.int16(),
    "Int32": pa.int32(),
    "Int64": pa.int64(),
    "UInt8": pa.uint8(),
    "UInt16": pa.uint16(),
    "UInt32": pa.uint32(),
    "UInt64": pa.uint64(),
    "Float64": pa.float64(),
    "Bool": pa.bool_(),
    "Date": pa.date32(),
    "Date32": pa.date32(),
    "DateTime": _INSTANT,
    "DateTime64": _INSTANT,
    "String": pa.utf8(),
    "Nothing": pa.utf8(),
}
_DOCUMENTS = ("Array", "Map", "Tuple", "Nested", "JSON", "Object", "Variant", "Dynamic")
_DIGITS = ("Int128", "Int256", "UInt128", "UInt256")


@dataclass(frozen=True, slots=True)
class ClickHouseColumn:
    """A column of a result.

    Attributes:
        field: As the spool has it.
        asked: What the server is asked for instead of the column; `{}` stands for its name. Empty: itself.
    """

    field: pa.Field
    asked: str = ""

    def array(self, values: pa.Array) -> pa.Array:
        """The server's Arrow column as the field's.

        Raises:
            pa.ArrowInvalid: A value does not fit.
            PermanentError: Text that is not UTF-8.
        """
        kind = self.field.type
        if pa.types.is_string(kind):
            return utf8_of(pc.cast(values, pa.binary()), self.field.name)
        if pa.types.is_timestamp(kind) and pa.types.is_uint32(values.type):
            return pc.cast(pc.cast(pc.cast(values, pa.int64()), pa.timestamp("s", "UTC")), kind)
        return values if values.type == kind else pc.cast(values, kind)


def column_of(name: str, declared: str, wider: pa.Field | None) -> ClickHouseColumn:
    """The column that a type of `DESCRIBE` makes."""
    word, _, arguments = _unwrapped(declared).partition("(")
    if wider is not None:
        return ClickHouseColumn(wider, "toString({})")
    if word in _AS_IS:
        return ClickHouseColumn(pa.field(name, _AS_IS[word]))
    if word == "Decimal":
        precision, scale = (int(number) for number in arguments.rstrip(")").split(","))
        kind = pa.decimal128 if precision <= 38 else pa.decimal256  # noqa: PLR2004 - Arrow's digits
        return ClickHouseColumn(pa.field(name, kind(precision, scale)))
    if word in _DIGITS:
        return ClickHouseColumn(text_field(name, "decimal"), "toString({})")
    if word in _DOCUMENTS:
        return ClickHouseColumn(text_field(name, "json"), "toJSONString({})")
    # Of single precision the digits that the server shows, as everywhere: 0.1 stays 0.1.
    asked = "toFloat64(toString({}))" if word == "Float32" else "toString({})"
    return ClickHouseColumn(pa.field(name, pa.float64() if word == "Float32" else pa.utf8()), asked)


def asking(sql: str, columns: Sequence[ClickHouseColumn]) -> str:
    """The query, wrapped where a column must be asked for in another form; its order stays."""
    replaced = ", ".join(
        f"{column.asked.format(quoted)} AS {quoted}"
        for column in columns
        if column.asked and (quoted := _quoted(column.field.name))
    )
    return f"SELECT * REPLACE ({replaced}) FROM (\n{sql}\n)" if replaced else sql


def batch_of(columns: Sequence[ClickHouseColumn], batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """A batch of the server as one of `schema`.

    Raises:
        TypeMisfit: A moment has more digits than microseconds.
        PermanentError: Text that is not UTF-8.
    """
    return fitted(schema, lambda n: columns[n].array(batch.column(n)))


def _unwrapped(declared: str) -> str:
    found = _WRAPPERS.match(declared)
    return _unwrapped(found[1].strip()) if found else declared


def _quoted(name: str) -> str:
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"
