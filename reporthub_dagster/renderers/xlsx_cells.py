"""Columns as numbers that Excel keeps: their text and number format, and null where only text is faithful.

Excel counts in doubles, shows 15 significant digits, knows no day before 1 March 1900 (its 29 February 1900
never was) and none after 9999, no negative time and no zone. So:

* integers and decimals of more than 15 significant digits, NaN and the infinities are text; a decimal keeps
  its scale through its number format;
* dates and timestamps outside 1900-03-01 to 9999-12-31 are text; within, they are exact to the millisecond;
* instants are wall-clock time in the window's zone, their offset is part of the number format;
* durations are `[h]:mm:ss`, negative ones text.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from reporthub_dagster.renderers.cells import TEXT, TextStyle, cell_texts, joined, literal
from reporthub_dagster.renderers.zones import DAY_US, floor_divide, offset_texts, wall_clock
from reporthub_dagster.storage.spool import text_kind

_SIGNIFICANT = 15
_DATE, _CLOCK, _ELAPSED = "yyyy-mm-dd", "hh:mm:ss", "[h]:mm:ss"
_DATE_CLOCK = f"{_DATE} {_CLOCK}"
_TRUTH = '"TRUE";"TRUE";"FALSE"'
"""Excel shows truth values as words whatever their format; LibreOffice shows some as 0 and 1 without it."""
_EPOCH_SERIAL = 25_569
"""Excel's number of 1970-01-01."""
_FIRST_SERIAL, _LAST_SERIAL = 61, 2_958_465
_END_SERIAL = _LAST_SERIAL + 1 - 0.5 / 86_400_000
"""From here on the time of the last day is rounded up to a day that Excel does not know."""
_MOST_PLACES = 30
"""Decimal places that a number format may have."""
_DECIMAL = r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$"


@dataclass(frozen=True, slots=True)
class Numbers:
    """A slice of a column.

    Attributes:
        texts: Each number as a workbook holds it; null where the cell is NULL or only faithful as text.
        pattern: The number format of all rows, or of each; empty is Excel's General.
        kind: The cell type: `n`, or `b` for truth values.
    """

    texts: pa.Array
    pattern: pa.Array | str = ""
    kind: str = "n"


Reader = Callable[[pa.Array, pa.Field, TextStyle], Numbers]


def number_reader(column: pa.Field) -> Reader | None:
    """What reads a column as numbers, or None for text."""
    if text_kind(column) == "decimal":
        return _decimal_texts
    return next((reader for is_type, reader in _READERS if is_type(column.type)), None)


def keeps(number: str, column: pa.Field) -> bool:
    """True when Excel keeps a number of a column."""
    if pt.is_floating(column.type):
        return math.isfinite(float(number))
    short: bool = _is_short(pa.array([number], TEXT))[0].as_py()
    return short


def _integers(array: pa.Array, _: pa.Field, __: TextStyle) -> Numbers:
    texts = array.cast(TEXT)
    if array.type.bit_width < 64 or _largest(array) < 10**_SIGNIFICANT:  # noqa: PLR2004 - bits
        return Numbers(texts)
    digits = pc.utf8_length(pc.utf8_ltrim(texts, "-"))
    return Numbers(_where(pc.less_equal(digits, _SIGNIFICANT), texts))


def _floats(array: pa.Array, column: pa.Field, style: TextStyle) -> Numbers:
    # By way of the text: 0.1 of a 32-bit float is to be 0.1, not 0.10000000149011612.
    return Numbers(_where(pc.is_finite(array), cell_texts(array, column, style)))


def _decimals(array: pa.Array, column: pa.Field, style: TextStyle) -> Numbers:
    texts, scale = cell_texts(array, column, style), max(array.type.scale, 0)
    if array.type.precision > _SIGNIFICANT and _largest(array) >= Decimal(10) ** (_SIGNIFICANT - scale):
        texts = _where(_is_short(texts), texts)
    return Numbers(texts, _places(scale))


def _decimal_texts(array: pa.Array, _: pa.Field, __: TextStyle) -> Numbers:
    texts = array.cast(TEXT)
    texts = _where(pc.match_substring_regex(texts, _DECIMAL), texts)
    after_point = pc.replace_substring_regex(texts, r"^[^.]*\.?|[eE].*$", "")
    places = pc.if_else(pc.match_substring_regex(texts, "[eE]"), -1, pc.utf8_length(after_point))
    kinds = pc.unique(places)
    patterns = ["" if kind is None or kind < 0 else _places(kind) for kind in kinds.to_pylist()]
    return Numbers(_where(_is_short(texts), texts), pa.array(patterns, TEXT).take(pc.index_in(places, kinds)))


def _is_short(texts: pa.Array) -> pa.Array:
    """Where decimal texts have no more digits than Excel keeps."""
    digits = pc.replace_substring_regex(texts, r"[eE].*$|[-+.]", "")
    significant = pc.utf8_length(pc.utf8_trim(digits, "0"))
    # A double ends at 1e308 and at 1e-308: beyond, it is infinite or loses digits.
    size = pc.abs(texts.cast(pa.float64()))
    within = pc.or_(pc.equal(significant, 0), pc.and_(pc.greater(size, 1e-300), pc.less(size, 1e300)))
    return pc.and_(pc.less_equal(significant, _SIGNIFICANT), within)


def _largest(array: pa.Array) -> int | Decimal:
    """The largest size in a column; 0 when it has none."""
    bounds = pc.min_max(array)
    return max((abs(bound.as_py()) for bound in bounds.values() if bound.is_valid), default=0)


def _where(faithful: pa.Array, texts: pa.Array) -> pa.Array:
    """The texts, null where they are not faithful."""
    if pc.all(faithful, min_count=0).as_py():
        return texts
    return pc.if_else(pc.fill_null(faithful, False), texts, None)


def _places(scale: int) -> str:
    return f"#,##0.{'0' * min(scale, _MOST_PLACES)}" if scale else "0"


def _booleans(array: pa.Array, _: pa.Field, __: TextStyle) -> Numbers:
    return Numbers(array.cast(pa.int8()).cast(TEXT), _TRUTH, "b")


def _dates(array: pa.Array, _: pa.Field, __: TextStyle) -> Numbers:
    serials = pc.add(array.cast(pa.date32()).cast(pa.int32()), _EPOCH_SERIAL)
    return Numbers(_where(_is_known_day(serials), serials.cast(TEXT)), _DATE)


def _timestamps(array: pa.Array, _: pa.Field, style: TextStyle) -> Numbers:
    if array.type.tz is None:
        return _moments(array.cast(pa.timestamp("us")).cast(pa.int64()), None)
    local, offsets = wall_clock(array, style.zone)
    return _moments(local.cast(pa.int64()), joined(literal('" '), offset_texts(offsets), literal('"')))


def _moments(local: pa.Array, offset: pa.Array | None) -> Numbers:
    day = floor_divide(local, DAY_US)
    rest = pc.subtract(local, pc.multiply(day, DAY_US))
    serials = pc.add(day, _EPOCH_SERIAL)
    pattern = _with_fraction(_DATE_CLOCK, rest)
    if offset is not None:
        pattern = joined(literal(pattern) if isinstance(pattern, str) else pattern, offset)
    numbers = _serial(serials, rest)
    return Numbers(_where(_is_known_day(numbers), numbers.cast(TEXT)), pattern)


def _times(array: pa.Array, _: pa.Field, __: TextStyle) -> Numbers:
    rest = array.cast(pa.time64("us")).cast(pa.int64())
    return Numbers(_fraction(rest).cast(TEXT), _with_fraction(_CLOCK, rest))


def _durations(array: pa.Array, _: pa.Field, __: TextStyle) -> Numbers:
    total = array.cast(pa.duration("us")).cast(pa.int64())
    day = floor_divide(total, DAY_US)
    rest = pc.subtract(total, pc.multiply(day, DAY_US))
    faithful = pc.and_(pc.greater_equal(total, 0), pc.less_equal(day, _LAST_SERIAL))
    return Numbers(_where(faithful, _serial(day, rest).cast(TEXT)), _with_fraction(_ELAPSED, rest))


def _serial(days: pa.Array, microseconds: pa.Array) -> pa.Array:
    return pc.add(days.cast(pa.float64()), _fraction(microseconds))


def _fraction(microseconds: pa.Array) -> pa.Array:
    return pc.divide(microseconds.cast(pa.float64()), float(DAY_US))


def _with_fraction(clock: str, microseconds: pa.Array) -> pa.Array | str:
    """Milliseconds are shown where there are any: Excel shows no smaller part."""
    whole = pc.fill_null(
        pc.equal(pc.multiply(pc.divide(microseconds, 1_000_000), 1_000_000), microseconds), True
    )
    if pc.all(whole, min_count=0).as_py():
        return clock
    return pc.if_else(whole, literal(clock), literal(f"{clock}.000"))


def _is_known_day(serials: pa.Array) -> pa.Array:
    return pc.and_(pc.greater_equal(serials, _FIRST_SERIAL), pc.less(serials, _END_SERIAL))


_READERS: tuple[tuple[Callable[[pa.DataType], bool], Reader], ...] = (
    (pt.is_integer, _integers),
    (pt.is_floating, _floats),
    (pt.is_decimal, _decimals),
    (pt.is_boolean, _booleans),
    (pt.is_date, _dates),
    (pt.is_timestamp, _timestamps),
    (pt.is_time, _times),
    (pt.is_duration, _durations),
)
