"""Oracle's types: what a column becomes, and what is asked of the server where its driver would not be exact.

The driver cuts nanoseconds, drops the zone of an instant (and refuses zones with names), and reads documents
into Python objects: such columns come as the server's own text. A NUMBER of declared precision is an exact
decimal; one without is read digit by digit, as exact text of kind `decimal`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import oracledb
import pyarrow as pa
import pyarrow.compute as pc

from reporthub_dagster.connectors import arrow_columns
from reporthub_dagster.connectors.arrow_columns import TextColumn
from reporthub_dagster.connectors.fitting import fitted
from reporthub_dagster.reporting.errors import ConfigurationError
from reporthub_dagster.storage.spool import text_field

_MOST_DIGITS, _INT64_DIGITS = 38, 18
_NO_SCALE = -127
_MICROSECONDS = 6
_FORMAT = "'SYYYY-MM-DD HH24:MI:SS.FF9'"
_FINER = r"\.\d{6}\d*[1-9]\d*$"
_LAST_THREE = r"(\.\d{6})\d+$"
_TEXTS = {
    *(oracledb.DB_TYPE_VARCHAR, oracledb.DB_TYPE_NVARCHAR, oracledb.DB_TYPE_CHAR, oracledb.DB_TYPE_NCHAR),
    *(oracledb.DB_TYPE_LONG, oracledb.DB_TYPE_LONG_NVARCHAR, oracledb.DB_TYPE_CLOB, oracledb.DB_TYPE_NCLOB),
    *(oracledb.DB_TYPE_ROWID, oracledb.DB_TYPE_UROWID),
}
_BYTES = {oracledb.DB_TYPE_RAW, oracledb.DB_TYPE_LONG_RAW, oracledb.DB_TYPE_BLOB}
_LONG = {
    *(oracledb.DB_TYPE_CLOB, oracledb.DB_TYPE_NCLOB, oracledb.DB_TYPE_BLOB, oracledb.DB_TYPE_JSON),
    *(oracledb.DB_TYPE_XMLTYPE, oracledb.DB_TYPE_VECTOR, oracledb.DB_TYPE_LONG, oracledb.DB_TYPE_LONG_RAW),
}
_NOT_IN_FRAMES = {oracledb.DB_TYPE_ROWID, oracledb.DB_TYPE_UROWID}
_INSTANTS = {oracledb.DB_TYPE_TIMESTAMP_TZ, oracledb.DB_TYPE_TIMESTAMP_LTZ}
_INTERVALS = {oracledb.DB_TYPE_INTERVAL_DS, oracledb.DB_TYPE_INTERVAL_YM}
_DOCUMENTS = {
    oracledb.DB_TYPE_JSON: "JSON_SERIALIZE({} RETURNING CLOB)",
    oracledb.DB_TYPE_VECTOR: "FROM_VECTOR({} RETURNING CLOB)",
}


@dataclass(frozen=True, slots=True)
class OracleColumn:
    """A column of a result.

    Attributes:
        field: As the spool has it.
        frame: Its type in the driver's Arrow batches, asked for as such; None where these would not be exact.
        asked: What the server is asked for instead of the column; `{}` stands for its name. Empty: itself.
        text: How the server's text becomes the field, for what was asked for as text.
        long: True where one value may be large.
    """

    field: pa.Field
    frame: pa.DataType | None
    asked: str = ""
    text: TextColumn | None = None
    long: bool = False

    def array(self, values: pa.Array) -> pa.Array:
        """The driver's column as the field's.

        Raises:
            pa.ArrowInvalid: A value does not fit.
        """
        kind = self.field.type
        if self.text is not None:
            return _moments(self.text, pc.cast(values, pa.utf8()))
        if pa.types.is_float32(values.type):
            # Of single precision the digits that the server shows, as everywhere: 0.1 stays 0.1.
            return pc.cast(pc.cast(values, pa.utf8()), kind)
        return values if values.type == kind else pc.cast(values, kind)


def column_of(info: oracledb.FetchInfo, name: str, wider: pa.Field | None) -> OracleColumn:
    """The column for what a query is described with.

    Raises:
        ConfigurationError: Its type has no values that a file could show.
    """
    kind = info.type_code
    long = kind in _LONG
    if kind is oracledb.DB_TYPE_NUMBER:
        return _number(name, info.precision or 0, _NO_SCALE if info.scale is None else info.scale)
    if kind in _TEXTS:
        field = text_field(name, "json") if info.is_json else pa.field(name, pa.utf8())
        return OracleColumn(field, None if kind in _NOT_IN_FRAMES else pa.utf8(), long=long)
    if kind in _BYTES:
        return OracleColumn(pa.field(name, pa.binary()), pa.binary(), long=long)
    if kind in _DOCUMENTS:
        return OracleColumn(text_field(name, "json"), pa.utf8(), _DOCUMENTS[kind], long=True)
    found = _moment(info, name, wider) or _plain(kind, name)
    if found is not None:
        return found
    raise ConfigurationError(
        f"column {name!r} is of type {kind.name.removeprefix('DB_TYPE_')}, which no file can show",
        table="report_configs",
        column="report_query",
        valid="leave it out, or select its attributes or its text",
    )


def wrapped(sql: str, columns: Sequence[OracleColumn], names: Sequence[str]) -> str:
    """The query, with another around it where a column must be asked for in another form.

    Raises:
        ConfigurationError: Two columns of one name could not be told apart.
    """
    if not any(column.asked for column in columns):
        return sql
    if len(set(names)) < len(names):
        raise ConfigurationError(
            "two columns of the result have one name, and one is of a type that must be asked for by name",
            table="report_configs",
            column="report_query",
            valid="give each column a name of its own with AS",
        )
    chosen = [
        (column.asked or "{}").format(f'"{name}"') + (f' AS "{name}"' if column.asked else "")
        for column, name in zip(columns, names, strict=True)
    ]
    return f"SELECT {', '.join(chosen)} FROM (\n{sql}\n)"


def batch_of(
    columns: Sequence[OracleColumn], arrays: Sequence[pa.Array], schema: pa.Schema
) -> pa.RecordBatch:
    """A batch of the driver as one of `schema`.

    Raises:
        TypeMisfit: A value is finer than a microsecond, or of no year from 1 to 9999.
    """
    return fitted(schema, lambda n: columns[n].array(arrays[n]))


def arrays_of(rows: Sequence[Sequence[Any]], columns: Sequence[OracleColumn]) -> list[pa.Array]:
    """The driver's Python rows as columns: numbers came as their digits."""
    cells: Sequence[Sequence[Any]] = list(zip(*rows, strict=True))
    return [pa.array(values, _given(column)) for values, column in zip(cells, columns, strict=True)]


def _given(column: OracleColumn) -> pa.DataType:
    kind = column.field.type
    digits = pa.types.is_decimal(kind) or pa.types.is_int64(kind)
    return pa.utf8() if digits or column.text is not None else column.frame or kind


def _number(name: str, precision: int, scale: int) -> OracleColumn:
    if not (precision and 0 <= scale <= precision <= _MOST_DIGITS):
        return OracleColumn(text_field(name, "decimal"), None)
    kind = pa.int64() if scale == 0 and precision <= _INT64_DIGITS else pa.decimal128(precision, scale)
    return OracleColumn(pa.field(name, kind), kind)


def _moment(info: oracledb.FetchInfo, name: str, wider: pa.Field | None) -> OracleColumn | None:
    kind = info.type_code
    if kind in _INTERVALS:
        return OracleColumn(pa.field(name, pa.utf8()), pa.utf8(), "TO_CHAR({})")
    if kind in _INSTANTS:
        asked, text = f"TO_CHAR(SYS_EXTRACT_UTC({{}}), {_FORMAT})", arrow_columns.instant(name)
    elif kind is oracledb.DB_TYPE_TIMESTAMP and (info.scale or 0) > _MICROSECONDS:
        asked, text = f"TO_CHAR({{}}, {_FORMAT})", arrow_columns.timestamp(name)
    elif kind in (oracledb.DB_TYPE_DATE, oracledb.DB_TYPE_TIMESTAMP):
        return OracleColumn(pa.field(name, pa.timestamp("us")), pa.timestamp("us"))
    else:
        return None
    if wider is not None:
        return OracleColumn(wider, pa.utf8(), asked)
    return OracleColumn(text.field, pa.utf8(), asked, text)


def _plain(kind: oracledb.DbType, name: str) -> OracleColumn | None:
    if kind is oracledb.DB_TYPE_BINARY_FLOAT:
        return OracleColumn(pa.field(name, pa.float64()), pa.float32())
    if kind is oracledb.DB_TYPE_BINARY_DOUBLE:
        return OracleColumn(pa.field(name, pa.float64()), pa.float64())
    if kind is oracledb.DB_TYPE_BOOLEAN:
        return OracleColumn(pa.field(name, pa.bool_()), pa.bool_())
    if kind is oracledb.DB_TYPE_XMLTYPE:
        return OracleColumn(
            pa.field(name, pa.utf8()), pa.utf8(), "XMLSERIALIZE(CONTENT {} AS CLOB)", long=True
        )
    return None


def _moments(column: TextColumn, values: pa.Array) -> pa.Array:
    """Times from `SYYYY-MM-DD HH24:MI:SS.FF9`, whose year has its sign or a space before it."""
    shown = pc.utf8_ltrim_whitespace(values)
    if pc.any(pc.match_substring_regex(shown, _FINER)).as_py():
        raise pa.ArrowInvalid("finer than microseconds")
    plain = pc.replace_substring_regex(shown, _LAST_THREE, r"\1")
    if pa.types.is_timestamp(column.field.type) and column.field.type.tz:
        plain = pc.binary_join_element_wise(plain, "Z", "")
    converted, lost = column.convert(plain)
    if lost:
        raise pa.ArrowInvalid("of no year from 1 to 9999")
    return converted
