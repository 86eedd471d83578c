"""Cells as text, column by column: the one place that says how a value of each type is written.

| type | text |
|---|---|
| integers | digits |
| float | shortest text that reads back the same (`0.1`, `1e+20`); `NaN`, `Infinity`, `-Infinity` |
| decimal | every digit of its scale, never an exponent |
| decimal as text | as the source wrote it |
| boolean | `true`, `false` |
| date | `2025-01-31` |
| timestamp | `2025-01-31 08:00:00`, with `.ffffff` when it has a fraction of a second |
| timestamp in UTC | wall-clock time in the window's zone and its offset, `2025-01-31 08:00:00+07:00` |
| time | `08:00:00[.ffffff]` |
| duration | `HH:MM:SS[.ffffff]`, as MySQL's TIME: `-01:00:00`, `838:59:59` |
| text, JSON | as it is |
| binary | `0x` and two hexadecimal digits a byte |

NULL stays null: what stands for it is the format's decision.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, tzinfo
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from reporthub_dagster.renderers.text_scan import replaced
from reporthub_dagster.renderers.zones import offset_texts, wall_clock
from reporthub_dagster.reporting.errors import PermanentError
from reporthub_dagster.storage.spool import text_kind

TEXT = pa.large_utf8()
"""Every text column is large: a slice of huge cells may pass the 2 GiB that utf8's offsets can count."""
_PLAIN_SCALE = 6


@dataclass(frozen=True, slots=True)
class TextStyle:
    """What differs between formats.

    Attributes:
        zone: Zone in which instants are shown.
        date_time_separator: Between date and time: a space, or `T` for ISO 8601.
    """

    zone: tzinfo
    date_time_separator: str = " "


def cell_texts(array: pa.Array, field: pa.Field, style: TextStyle) -> pa.Array:
    """A column of any type that connectors produce as large_utf8, nulls kept.

    Raises:
        PermanentError: The type has no text form.
    """
    for is_type, write in _WRITERS:
        if is_type(array.type):
            return write(array, style)
    raise PermanentError(
        f"column {field.name!r} has type {field.type}, which files cannot show: make it text in the query"
    )


def is_text(field: pa.Field) -> bool:
    """True for free text, JSON included; decimals as text are numbers."""
    return _is_string(field.type) and text_kind(field) != "decimal"


def is_numeric(field: pa.Field) -> bool:
    """True for what people read as a number, right-aligned."""
    kinds = (pt.is_integer, pt.is_floating, pt.is_decimal, pt.is_duration)
    return text_kind(field) == "decimal" or any(is_type(field.type) for is_type in kinds)


def literal(text: str) -> pa.Scalar:
    """A text that stands in every row."""
    return pa.scalar(text, TEXT)


def joined(*parts: pa.Array | pa.Scalar) -> pa.Array:
    """Columns and literals side by side, row by row; null where one of them is."""
    return pc.binary_join_element_wise(*parts, literal(""))


def text_bytes(lines: pa.Array) -> memoryview:
    """All rows of a large_utf8 array that was just computed, one after the other."""
    _, offsets, data = lines.buffers()
    if data is None or not len(lines):
        return memoryview(b"")
    first, last = (struct.unpack_from("<q", offsets, 8 * (lines.offset + at))[0] for at in (0, len(lines)))
    return memoryview(data)[first:last]


def _is_string(kind: pa.DataType) -> bool:
    return bool(pt.is_string(kind) or pt.is_large_string(kind) or pt.is_string_view(kind))


def _plain(array: pa.Array, _: TextStyle) -> pa.Array:
    return array.cast(TEXT)


def _floats(array: pa.Array, _: TextStyle) -> pa.Array:
    texts = array.cast(TEXT)
    if all_finite(array):
        return texts
    # Finite numbers hold neither word, so whole columns can be replaced.
    return pc.replace_substring(pc.replace_substring(texts, "nan", "NaN"), "inf", "Infinity")


def float_text(value: float) -> str:
    """One float as its column's cells are written."""
    text: str = _floats(pa.array([value], pa.float64()), TextStyle(UTC))[0].as_py()
    return text


def all_finite(array: pa.Array) -> bool:
    """True for floats without NaN and infinities."""
    finite: bool = pc.all(pc.is_finite(array), min_count=0).as_py()
    return finite


def _decimals(array: pa.Array, _: TextStyle) -> pa.Array:
    """Arrow writes numbers below 1e-6 with an exponent (`1E-7`): those few are written out."""
    texts = array.cast(TEXT)
    if 0 <= array.type.scale <= _PLAIN_SCALE:
        return texts
    scientific = pc.match_substring(texts, "E")
    if not pc.any(scientific).as_py():
        return texts
    few = [format(Decimal(text), "f") for text in texts.filter(scientific).to_pylist()]
    return pc.replace_with_mask(texts, pc.fill_null(scientific, False), pa.array(few, TEXT))


def _times(array: pa.Array, _: TextStyle) -> pa.Array:
    return _without_empty_fraction(array.cast(pa.time64("us")).cast(TEXT))


def _timestamps(array: pa.Array, style: TextStyle) -> pa.Array:
    if array.type.tz is None:
        return _wall_clock_texts(array.cast(pa.timestamp("us")), style)
    local, offsets = wall_clock(array, style.zone)
    return joined(_wall_clock_texts(local, style), offset_texts(offsets))


def _wall_clock_texts(array: pa.Array, style: TextStyle) -> pa.Array:
    try:
        # Most columns have whole seconds, which Arrow then writes without a fraction.
        texts = array.cast(pa.timestamp("s")).cast(TEXT)
    except pa.ArrowInvalid:
        texts = _without_empty_fraction(array.cast(TEXT))
    return texts if style.date_time_separator == " " else replaced(texts, " ", style.date_time_separator)


def _without_empty_fraction(texts: pa.Array) -> pa.Array:
    return pc.replace_substring(texts, ".000000", "")


def _durations(array: pa.Array, _: TextStyle) -> pa.Array:
    total = array.cast(pa.duration("us")).cast(pa.int64())
    size = pc.abs(total)
    seconds = pc.divide(size, 1_000_000)
    sign = pc.if_else(pc.less(total, 0), literal("-"), literal(""))
    hours = _padded(pc.divide(seconds, 3600), 2)
    minutes = _padded(_modulo(pc.divide(seconds, 60), 60), 2)
    fraction = joined(literal("."), _padded(_modulo(size, 1_000_000), 6))
    whole = joined(sign, hours, literal(":"), minutes, literal(":"), _padded(_modulo(seconds, 60), 2))
    return _without_empty_fraction(joined(whole, fraction))


def _padded(numbers: pa.Array, width: int) -> pa.Array:
    return pc.utf8_lpad(numbers.cast(TEXT), width, "0")


def _modulo(numbers: pa.Array, divisor: int) -> pa.Array:
    return pc.subtract(numbers, pc.multiply(pc.divide(numbers, divisor), divisor))


def _binaries(array: pa.Array, _: TextStyle) -> pa.Array:
    return pa.array([None if value is None else f"0x{value.hex()}" for value in array.to_pylist()], TEXT)


def is_binary(kind: pa.DataType) -> bool:
    """True for bytes of any layout."""
    return bool(pt.is_binary(kind) or pt.is_large_binary(kind) or pt.is_fixed_size_binary(kind))


_Writer = Callable[[pa.Array, TextStyle], pa.Array]
_WRITERS: tuple[tuple[Callable[[pa.DataType], bool], _Writer], ...] = (
    (_is_string, _plain),
    (pt.is_integer, _plain),
    (pt.is_decimal, _decimals),
    (pt.is_floating, _floats),
    (pt.is_timestamp, _timestamps),
    (pt.is_date, lambda array, style: _plain(array.cast(pa.date32()), style)),
    (pt.is_boolean, _plain),
    (pt.is_time, _times),
    (pt.is_duration, _durations),
    (is_binary, _binaries),
    (pt.is_null, _plain),
)
