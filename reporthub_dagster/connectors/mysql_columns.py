"""MySQL's and MariaDB's types, as a result describes its columns, and the columns that hold them exactly.

Where the choice is ours: `TINYINT(1)` stays a number (it may hold 2); FLOAT becomes a double with the digits
that the server shows (it sends six); TIME is a duration, since it may exceed a day and be negative; zero
dates are NULL. MariaDB's JSON is a LONGTEXT and cannot be told from one.
"""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
from pymysql.constants import FIELD_TYPE, FLAG
from pymysql.protocol import FieldDescriptorPacket

from reporthub_dagster.connectors import arrow_columns
from reporthub_dagster.connectors.arrow_columns import TextColumn
from reporthub_dagster.storage.spool import text_field

Make = Callable[[str, FieldDescriptorPacket], TextColumn]

_BINARY_CHARSET = 63


def column_of(name: str, field: FieldDescriptorPacket) -> TextColumn:
    """The column for a field of a result; types that we do not know are text, or bytes if they say so."""
    return _COLUMNS.get(field.type_code, _characters)(name, field)


def _integer(signed: pa.DataType, unsigned: pa.DataType) -> Make:
    return lambda name, field: arrow_columns.integer(
        name, unsigned if field.flags & FLAG.UNSIGNED else signed
    )


def _decimal(name: str, field: FieldDescriptorPacket) -> TextColumn:
    """Its length is how wide it prints: the sign and the point come on top of the digits."""
    sign = 0 if field.flags & FLAG.UNSIGNED else 1
    point = 1 if field.scale else 0
    return arrow_columns.decimal(name, field.length - sign - point, field.scale)


def _characters(name: str, field: FieldDescriptorPacket) -> TextColumn:
    if field.charsetnr == _BINARY_CHARSET:
        return arrow_columns.binary(name)
    return arrow_columns.text(pa.field(name, pa.utf8()))


def _date(name: str, _: FieldDescriptorPacket) -> TextColumn:
    return arrow_columns.mysql_time(arrow_columns.date(name))


def _timestamp(name: str, _: FieldDescriptorPacket) -> TextColumn:
    return arrow_columns.mysql_time(arrow_columns.timestamp(name))


_COLUMNS: dict[int, Make] = {
    FIELD_TYPE.TINY: _integer(pa.int8(), pa.uint8()),
    FIELD_TYPE.SHORT: _integer(pa.int16(), pa.uint16()),
    FIELD_TYPE.INT24: _integer(pa.int32(), pa.uint32()),
    FIELD_TYPE.LONG: _integer(pa.int32(), pa.uint32()),
    FIELD_TYPE.LONGLONG: _integer(pa.int64(), pa.uint64()),
    FIELD_TYPE.YEAR: _integer(pa.int16(), pa.int16()),
    FIELD_TYPE.DECIMAL: _decimal,
    FIELD_TYPE.NEWDECIMAL: _decimal,
    FIELD_TYPE.FLOAT: lambda name, _: arrow_columns.floating(name),
    FIELD_TYPE.DOUBLE: lambda name, _: arrow_columns.floating(name),
    FIELD_TYPE.DATE: _date,
    FIELD_TYPE.NEWDATE: _date,
    FIELD_TYPE.DATETIME: _timestamp,
    FIELD_TYPE.TIMESTAMP: _timestamp,
    FIELD_TYPE.TIME: lambda name, _: arrow_columns.duration(name),
    FIELD_TYPE.BIT: lambda name, field: arrow_columns.bits(name, field.length),
    FIELD_TYPE.JSON: lambda name, _: arrow_columns.text(text_field(name, "json")),
    FIELD_TYPE.GEOMETRY: lambda name, _: arrow_columns.binary(name),
    FIELD_TYPE.NULL: lambda name, _: arrow_columns.text(pa.field(name, pa.utf8())),
}
