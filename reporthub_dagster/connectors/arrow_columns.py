"""Columns of values as a server writes them in text, turned into Arrow arrays of their declared types.

Drivers turn each value into a Python object, one by one; here a column's bytes go into one Arrow array and
are cast at once, which is faster and keeps every digit. What a conversion does with a value that its type
cannot hold is part of its contract: it raises `pa.ArrowInvalid` (the column is read again as text) unless
its docstring says that the value becomes NULL and is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from reporthub_dagster.connectors.base import TypeMisfit
from reporthub_dagster.reporting.errors import PermanentError
from reporthub_dagster.storage.spool import text_field

Convert = Callable[[pa.Array], tuple[pa.Array, int]]
"""utf8 (for binary types: binary) array → typed array, and how many values became NULL on the way."""

_LAST_ASCII = 0x7F
_DECIMAL128_DIGITS = 38
_DECIMAL256_DIGITS = 76
_FIRST_DAY = -719_162
"""1 January of the year 1, in days since 1970."""
_DAY_MICROSECONDS = 86_400_000_000
_FIRST_INSTANT = datetime(1, 1, 1, tzinfo=UTC)
_LAST_INSTANT = datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class TextColumn:
    """A column of a result: its field, how its text becomes values, and what holds every value it may have.

    Attributes:
        fallback: Field for reading the column again when a value does not fit; the same field when any fits.
        raw: True when `convert` wants the bytes as they came.
    """

    field: pa.Field
    convert: Convert
    fallback: pa.Field
    raw: bool = False


def text(field: pa.Field) -> TextColumn:
    """Text as it is: plain, or a text kind of the spool."""
    return TextColumn(field, lambda values: (values, 0), field)


def integer(name: str, kind: pa.DataType) -> TextColumn:
    """Whole numbers."""
    return _cast_column(pa.field(name, kind), text_field(name, "decimal"))


def floating(name: str) -> TextColumn:
    """Binary floating point, as the double nearest to the digits that the server shows.

    Single precision too: `0.1` of a FLOAT stays 0.1 instead of becoming 0.10000000149011612.
    """
    return _cast_column(pa.field(name, pa.float64()), text_field(name, "decimal"))


def decimal(name: str, precision: int, scale: int) -> TextColumn:
    """Exact decimals of a declared precision; as text of kind `decimal` where Arrow has no such type."""
    if not 0 <= scale <= precision <= _DECIMAL256_DIGITS or precision == 0:
        return text(text_field(name, "decimal"))
    kind = pa.decimal128 if precision <= _DECIMAL128_DIGITS else pa.decimal256
    return _cast_column(pa.field(name, kind(precision, scale)), text_field(name, "decimal"))


def boolean(name: str) -> TextColumn:
    """PostgreSQL's `t` and `f`."""
    return TextColumn(
        pa.field(name, pa.bool_()), lambda values: (pc.equal(values, "t"), 0), pa.field(name, pa.utf8())
    )


def date(name: str) -> TextColumn:
    """`YYYY-MM-DD` → date32; what is no day of the years 1 to 9999 becomes NULL, counted."""
    return _temporal_column(pa.field(name, pa.date32()))


def timestamp(name: str) -> TextColumn:
    """`YYYY-MM-DD HH:MM:SS[.ffffff]` → timestamp[us]; outside the years 1 to 9999 NULL, counted."""
    return _temporal_column(pa.field(name, pa.timestamp("us")))


def instant(name: str) -> TextColumn:
    """The same with a UTC offset → timestamp[us, UTC]."""
    field = pa.field(name, pa.timestamp("us", "UTC"))

    def convert(values: pa.Array) -> tuple[pa.Array, int]:
        cast = _cast_or_null(values, field.type, _historic_instant)
        outside = pc.or_(pc.less(cast, _FIRST_INSTANT), pc.greater(cast, _LAST_INSTANT))
        if pc.any(outside).as_py():
            cast = pc.if_else(outside, pa.scalar(None, field.type), cast)
        return cast, cast.null_count - values.null_count

    return TextColumn(field, convert, pa.field(name, pa.utf8()))


def mysql_time(column: TextColumn) -> TextColumn:
    """`column`, a date or timestamp, with MySQL's zero and partly-zero dates as NULL, uncounted."""

    def convert(values: pa.Array) -> tuple[pa.Array, int]:
        plain = _plain_times(values, column.field.type)
        if plain is not None:
            return plain, 0
        zero = pc.match_substring_regex(values, "^0000|-00")
        return column.convert(pc.if_else(zero, pa.scalar(None, values.type), values))

    return TextColumn(column.field, convert, column.fallback)


def time_of_day(name: str) -> TextColumn:
    """`HH:MM:SS[.ffffff]` below 24 hours → time64[us]."""
    field = pa.field(name, pa.time64("us"))

    def convert(values: pa.Array) -> tuple[pa.Array, int]:
        on_a_day = pc.binary_join_element_wise("1970-01-01", values, " ")
        return pc.cast(pc.cast(on_a_day, pa.timestamp("us")), field.type), 0

    return TextColumn(field, convert, pa.field(name, pa.utf8()))


def duration(name: str) -> TextColumn:
    """`[-]HHH:MM:SS[.ffffff]`, beyond 24 hours too → duration[us]."""
    field = pa.field(name, pa.duration("us"))
    parts = r"^(?P<sign>-?)(?P<h>\d+):(?P<m>\d\d):(?P<s>\d\d)(?:\.(?P<f>\d{1,6}))?$"

    def convert(values: pa.Array) -> tuple[pa.Array, int]:
        found = pc.extract_regex(values, parts)
        if found.null_count > values.null_count:
            raise pa.ArrowInvalid("not a time")
        number = {key: pc.cast(pc.struct_field(found, key), pa.int64()) for key in "hms"}
        fraction = pc.utf8_rpad(pc.struct_field(found, "f"), 6, "0")
        seconds = pc.add(pc.add(pc.multiply(number["h"], 3600), pc.multiply(number["m"], 60)), number["s"])
        micros = pc.add(pc.multiply(seconds, 1_000_000), pc.cast(fraction, pa.int64()))
        signed = pc.if_else(pc.equal(pc.struct_field(found, "sign"), "-"), pc.negate(micros), micros)
        return pc.cast(signed, field.type), 0

    return TextColumn(field, convert, pa.field(name, pa.utf8()))


def binary(name: str) -> TextColumn:
    """Bytes as they came."""
    field = pa.field(name, pa.binary())
    return TextColumn(field, lambda values: (values, 0), field, raw=True)


def hexadecimal(name: str) -> TextColumn:
    r"""PostgreSQL's `\x0a1b` → binary."""
    field = pa.field(name, pa.binary())

    def convert(values: pa.Array) -> tuple[pa.Array, int]:
        plain = [None if value is None else bytes.fromhex(value[2:]) for value in values.to_pylist()]
        return pa.array(plain, field.type), 0

    return TextColumn(field, convert, field)


def bits(name: str, width: int) -> TextColumn:
    """MySQL's BIT, which comes as big-endian bytes: bool for a single bit, uint64 for more."""
    kind = pa.bool_() if width == 1 else pa.uint64()

    def convert(values: pa.Array) -> tuple[pa.Array, int]:
        numbers = [None if value is None else int.from_bytes(value, "big") for value in values.to_pylist()]
        return pc.cast(pa.array(numbers, pa.uint64()), kind), 0

    return TextColumn(pa.field(name, kind), convert, pa.field(name, kind), raw=True)


def batch_of(columns: Sequence[TextColumn], cells: Sequence[pa.Array], lost: list[int]) -> pa.RecordBatch:
    """A record batch from binary columns; adds to `lost` how many values of each became NULL.

    Raises:
        TypeMisfit: Values that do not fit their column's type.
        PermanentError: Text that is not valid in the connection's character set, UTF-8.
    """
    arrays, wider = [], {}
    for position, (column, raw) in enumerate(zip(columns, cells, strict=True)):
        prepared = raw if column.raw else utf8_of(raw, column.field.name)
        try:
            array, lost_here = column.convert(prepared)
        except pa.ArrowInvalid:
            wider[position] = column.fallback
            continue
        lost[position] += lost_here
        arrays.append(array)
    if wider:
        raise TypeMisfit(wider)
    return pa.record_batch(arrays, schema=pa.schema([column.field for column in columns]))


def utf8_of(raw: pa.Array, name: str) -> pa.Array:
    """A binary column as text.

    Raises:
        PermanentError: It is not valid UTF-8.
    """
    _, _, data = raw.buffers()
    # A look at all bytes at once takes an eighth of the time that Arrow's look at each text takes.
    if data is None or np.frombuffer(data, np.uint8).max(initial=0) <= _LAST_ASCII:
        return raw.view(pa.utf8())
    try:
        return pc.cast(raw, pa.utf8())
    except pa.ArrowInvalid:
        error = PermanentError(
            f"column {name!r} holds text that is not valid UTF-8; repair the data, or select its bytes "
            "(for example HEX or encode) instead"
        )
    raise error


def _cast_column(field: pa.Field, fallback: pa.Field) -> TextColumn:
    """Numbers: Arrow reads them from bytes, and what is not ASCII is none."""
    return TextColumn(field, lambda values: (pc.cast(values, field.type), 0), fallback, raw=True)


def _temporal_column(field: pa.Field) -> TextColumn:
    def convert(values: pa.Array) -> tuple[pa.Array, int]:
        cast = _cast_or_null(values, field.type)
        return cast, cast.null_count - values.null_count

    return TextColumn(field, convert, pa.field(field.name, pa.utf8()))


def _cast_or_null(
    values: pa.Array, kind: pa.DataType, otherwise: Callable[[str], datetime | None] = lambda _: None
) -> pa.Array:
    """Cast; where Arrow cannot read a value, what `otherwise` makes of it, mostly NULL."""
    try:
        return pc.cast(values, kind)
    except pa.ArrowInvalid:
        encoded = pc.dictionary_encode(values)
    meanings = []
    for value in encoded.dictionary:
        try:
            meanings.append(pc.cast(value, kind))
        except pa.ArrowInvalid:
            meanings.append(pa.scalar(otherwise(value.as_py()), kind))
    return pa.array(meanings, kind).take(encoded.indices)


def _plain_times(values: pa.Array, kind: pa.DataType) -> pa.Array | None:
    """The values cast at once when all of them are of the years 1 to 9999; None when one is not."""
    try:
        cast = pc.cast(values, kind)
    except pa.ArrowInvalid:
        return None
    earliest = pc.min(cast)
    first = _FIRST_DAY if pa.types.is_date32(kind) else _FIRST_DAY * _DAY_MICROSECONDS
    return None if earliest.is_valid and earliest.value < first else cast


def _historic_instant(value: str) -> datetime | None:
    """An instant whose offset has seconds, as zones had before standard time; None for infinity and BC."""
    try:
        return datetime.fromisoformat(value).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
