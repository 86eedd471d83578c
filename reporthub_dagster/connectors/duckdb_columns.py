"""How each type of DuckDB leaves it: as Arrow has it where that is exact, else as DuckDB's own text.

Arrow's export would cut HUGEINT at 38 digits, and has no type for others: those are cast in the query.
What is exact only for some values (days beyond the year 9999, nanoseconds) is tried, and read again as text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from reporthub_dagster.connectors.fitting import fitted
from reporthub_dagster.storage.spool import text_field

_DECIMAL = re.compile(r"DECIMAL\((\d+),(\d+)\)")
_AS_THEY_ARE: dict[str, pa.DataType] = {
    "BOOLEAN": pa.bool_(),
    "TINYINT": pa.int8(),
    "SMALLINT": pa.int16(),
    "INTEGER": pa.int32(),
    "BIGINT": pa.int64(),
    "UTINYINT": pa.uint8(),
    "USMALLINT": pa.uint16(),
    "UINTEGER": pa.uint32(),
    "UBIGINT": pa.uint64(),
    "DOUBLE": pa.float64(),
    "DATE": pa.date32(),
    "TIME": pa.time64("us"),
    "TIME_NS": pa.time64("us"),
    "TIMESTAMP": pa.timestamp("us"),
    "TIMESTAMP_S": pa.timestamp("us"),
    "TIMESTAMP_MS": pa.timestamp("us"),
    "TIMESTAMP_NS": pa.timestamp("us"),
    "TIMESTAMP WITH TIME ZONE": pa.timestamp("us", "UTC"),
    "VARCHAR": pa.utf8(),
    "BLOB": pa.binary(),
}
_TEXT = "CAST({} AS VARCHAR)"
_WHOLE = (_TEXT, lambda name: text_field(name, "decimal"))
_CAST: dict[str, tuple[str, Callable[[str], pa.Field]]] = {
    "HUGEINT": _WHOLE,
    "UHUGEINT": _WHOLE,
    "BIGNUM": _WHOLE,
    # By way of its text: 0.1 stays 0.1 instead of becoming 0.10000000149011612.
    "FLOAT": ("CAST(CAST({} AS VARCHAR) AS DOUBLE)", lambda name: pa.field(name, pa.float64())),
    "JSON": (_TEXT, lambda name: text_field(name, "json")),
}
_NESTED = ("STRUCT", "MAP", "UNION", "VARIANT")
_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896
"""The first day of the year 1 and the last of 9999, in days since 1970."""
_A_DAY = 86_400_000_000


@dataclass(frozen=True, slots=True)
class DuckDBColumn:
    """A column of a result.

    Attributes:
        expression: How it is selected, `{}` being the column; empty when DuckDB's own export is exact.
        field: What it becomes.
    """

    expression: str
    field: pa.Field


def column_of(name: str, kind: str, wider: pa.Field | None = None) -> DuckDBColumn:
    """The column of a type.

    Args:
        name: Its name in the result.
        kind: DuckDB's word for the type.
        wider: What a `TypeMisfit` asked for: its text.
    """
    if wider is not None:
        return DuckDBColumn(_TEXT, wider)
    if kind.endswith("]") or kind.startswith(_NESTED):
        return DuckDBColumn("CAST(to_json({}) AS VARCHAR)", text_field(name, "json"))
    if exact := _DECIMAL.fullmatch(kind):
        return DuckDBColumn("", pa.field(name, pa.decimal128(int(exact[1]), int(exact[2]))))
    if kind in _AS_THEY_ARE:
        return DuckDBColumn("", pa.field(name, _AS_THEY_ARE[kind]))
    expression, make = _CAST.get(kind, (_TEXT, lambda name: pa.field(name, pa.utf8())))
    return DuckDBColumn(expression, make(name))


def batch_of(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """A batch of DuckDB's with the types of the spool.

    Raises:
        TypeMisfit: A value has none; that column is to be read as text.
    """
    return fitted(schema, lambda n: _exact(batch.column(n), schema.field(n).type))


def texts_of(kinds: Sequence[str], wider: Mapping[int, pa.Field]) -> tuple[str, ...]:
    """A warning for each column that is read as text."""
    return tuple(
        f"column {field.name!r} holds values of {kinds[position]} that files cannot show; it is read as text"
        for position, field in wider.items()
    )


def _exact(array: pa.Array, kind: pa.DataType) -> pa.Array:
    cast = array if array.type == kind else array.cast(kind)
    bounds = _BOUNDS.get(kind.id)
    if bounds is not None:
        bounds(cast)
    return cast


def _require_within(first: int, last: int, number: pa.DataType) -> Callable[[pa.Array], None]:
    def require(array: pa.Array) -> None:
        ends = pc.min_max(array.cast(number))
        if ends["min"].is_valid and (ends["min"].as_py() < first or ends["max"].as_py() > last):
            raise pa.ArrowInvalid("not a day that files can show")

    return require


_BOUNDS = {
    pa.date32().id: _require_within(_FIRST_DAY, _LAST_DAY, pa.int32()),
    pa.time64("us").id: _require_within(0, _A_DAY - 1, pa.int64()),
    pa.timestamp("us").id: _require_within(_FIRST_DAY * _A_DAY, (_LAST_DAY + 1) * _A_DAY - 1, pa.int64()),
}
