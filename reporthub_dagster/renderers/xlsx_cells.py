"""Columns as spreadsheet cells: a number with its format where Excel keeps the value, text where it does not.

Excel counts in doubles, shows 15 significant digits, knows no day before 1 March 1900 (its 29 February 1900
never was) and none after 9999, no negative time and no zone. So:

* integers and decimals of more than 15 significant digits, NaN and the infinities are text; a decimal keeps
  its scale through its number format;
* dates and timestamps outside 1900-03-01 to 9999-12-31 are text; within, they are exact to the millisecond;
* instants are wall-clock time in the window's zone, their offset is part of the number format;
* durations are `[h]:mm:ss`, negative ones text.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from reporthub_dagster.renderers.cells import TEXT, TextStyle, cell_texts, joined, literal
from reporthub_dagster.renderers.zones import DAY_US, floor_divide, offset_texts, wall_clock
from reporthub_dagster.storage.spool import text_kind

_SIGNIFICANT = 15
_DATE, _CLOCK, _ELAPSED = "yyyy-mm-dd", "hh:mm:ss", "[h]:mm:ss"
_DATE_CLOCK = f"{_DATE} {_CLOCK}"
_EPOCH_SERIAL = 25_569
"""Excel's number of 1970-01-01."""
_FIRST_SERIAL, _LAST_SERIAL = 61, 2_958_465
_MOST_PLACES = 30
"""Decimal places that a number format may have."""
_DECIMAL = r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$"


class Exact(float):
    """A float that XlsxWriter writes with all its digits; its own format stops at 16."""

    __slots__ = ()

    def __format__(self, format_spec: str) -> str:
        return repr(self)


@dataclass(frozen=True, slots=True)
class Cells:
    """A slice of a column.

    Attributes:
        numbers: int, Exact or bool where the cell is a number, else None.
        texts: str where the cell is text, else None; both are None for NULL.
        formats: The number format of each row, or one for all; empty is Excel's General.
    """

    numbers: list[Any]
    texts: list[str | None]
    formats: list[str] | str = ""


@dataclass(frozen=True, slots=True)
class _Numbers:
    """What a column would be as numbers, and where that is faithful."""

    values: pa.Array
    faithful: pa.Array
    formats: pa.Array | str = field(default="")


def sheet_cells(array: pa.Array, column: pa.Field, style: TextStyle) -> Cells:
    """The cells of one slice of a column.

    Raises:
        PermanentError: The type has no text form either.
    """
    reader = _reader(column)
    if reader is None:
        return Cells([None] * len(array), cell_texts(array, column, style).to_pylist())
    found = reader(array, column, style)
    faithful = pc.fill_null(found.faithful, False)
    numbers = pc.if_else(faithful, found.values, None).to_pylist()
    texts: list[str | None] = [None] * len(array)
    rest = pc.and_not(array.is_valid(), faithful)
    if pc.any(rest).as_py():
        texts = cell_texts(pc.if_else(rest, array, None), column, style).to_pylist()
    if pt.is_floating(found.values.type):
        numbers = [None if number is None else Exact(number) for number in numbers]
    formats = found.formats
    return Cells(numbers, texts, formats if isinstance(formats, str) else formats.to_pylist())


def _integers(array: pa.Array, _: pa.Field, __: TextStyle) -> _Numbers:
    limit = 10**_SIGNIFICANT
    if array.type.bit_width < 64:  # noqa: PLR2004 - smaller integers cannot reach the limit
        return _Numbers(array, array.is_valid())
    faithful = pc.less(array, pa.scalar(limit, array.type))
    if pt.is_signed_integer(array.type):
        faithful = pc.and_(faithful, pc.greater(array, -limit))
    return _Numbers(array, faithful)


def _floats(array: pa.Array, column: pa.Field, style: TextStyle) -> _Numbers:
    # By way of the text: 0.1 of a 32-bit float is to be 0.1, not 0.10000000149011612.
    texts = pc.if_else(pc.is_finite(array), cell_texts(array, column, style), None)
    return _Numbers(texts.cast(pa.float64()), texts.is_valid())


def _decimals(array: pa.Array, column: pa.Field, style: TextStyle) -> _Numbers:
    faithful, numbers = _short(cell_texts(array, column, style))
    return _Numbers(numbers, faithful, _places(max(array.type.scale, 0)))


def _decimal_texts(array: pa.Array, _: pa.Field, __: TextStyle) -> _Numbers:
    texts = array.cast(TEXT)
    faithful, numbers = _short(pc.if_else(pc.match_substring_regex(texts, _DECIMAL), texts, None))
    after_point = pc.replace_substring_regex(texts, r"^[^.]*\.?|[eE].*$", "")
    places = pc.if_else(pc.match_substring_regex(texts, "[eE]"), -1, pc.utf8_length(after_point))
    kinds = pc.unique(places).to_pylist()
    formats = pa.array(["" if kind is None or kind < 0 else _places(kind) for kind in kinds])
    return _Numbers(numbers, faithful, formats.take(pc.index_in(places, pc.unique(places))))


def _short(texts: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Where decimal texts have no more digits than Excel keeps, and all of them as doubles."""
    digits = pc.replace_substring_regex(texts, r"[eE].*$|[-+.]", "")
    significant = pc.utf8_length(pc.utf8_trim(digits, "0"))
    numbers = texts.cast(pa.float64())
    # A double ends at 1e308 and at 1e-308: beyond, it is infinite or loses digits.
    size = pc.abs(numbers)
    within = pc.or_(pc.equal(significant, 0), pc.and_(pc.greater(size, 1e-300), pc.less(size, 1e300)))
    return pc.and_(pc.less_equal(significant, _SIGNIFICANT), within), numbers


def _places(scale: int) -> str:
    return f"#,##0.{'0' * min(scale, _MOST_PLACES)}" if scale else "0"


def _booleans(array: pa.Array, _: pa.Field, __: TextStyle) -> _Numbers:
    return _Numbers(array, array.is_valid())


def _dates(array: pa.Array, _: pa.Field, __: TextStyle) -> _Numbers:
    serials = pc.add(array.cast(pa.date32()).cast(pa.int32()), _EPOCH_SERIAL)
    return _Numbers(serials, _known_day(serials), _DATE)


def _timestamps(array: pa.Array, _: pa.Field, style: TextStyle) -> _Numbers:
    if array.type.tz is None:
        return _moments(array.cast(pa.timestamp("us")).cast(pa.int64()), literal(""))
    local, offsets = wall_clock(array, style.zone)
    return _moments(local.cast(pa.int64()), joined(literal('" '), offset_texts(offsets), literal('"')))


def _moments(local: pa.Array, offset: pa.Array | pa.Scalar) -> _Numbers:
    day = floor_divide(local, DAY_US)
    rest = pc.subtract(local, pc.multiply(day, DAY_US))
    serials = pc.add(day, _EPOCH_SERIAL)
    formats = pc.fill_null(joined(_with_fraction(_DATE_CLOCK, rest), offset), "")
    return _Numbers(_serial(serials, rest), _known_day(serials), formats)


def _times(array: pa.Array, _: pa.Field, __: TextStyle) -> _Numbers:
    rest = array.cast(pa.time64("us")).cast(pa.int64())
    return _Numbers(_fraction(rest), array.is_valid(), _with_fraction(_CLOCK, rest))


def _durations(array: pa.Array, _: pa.Field, __: TextStyle) -> _Numbers:
    total = array.cast(pa.duration("us")).cast(pa.int64())
    day = floor_divide(total, DAY_US)
    rest = pc.subtract(total, pc.multiply(day, DAY_US))
    faithful = pc.and_(pc.greater_equal(total, 0), pc.less_equal(day, _LAST_SERIAL))
    return _Numbers(_serial(day, rest), faithful, _with_fraction(_ELAPSED, rest))


def _serial(days: pa.Array, microseconds: pa.Array) -> pa.Array:
    return pc.add(days.cast(pa.float64()), _fraction(microseconds))


def _fraction(microseconds: pa.Array) -> pa.Array:
    return pc.divide(microseconds.cast(pa.float64()), float(DAY_US))


def _with_fraction(clock: str, microseconds: pa.Array) -> pa.Array:
    """Milliseconds are shown where there are any: Excel shows no smaller part."""
    whole = pc.multiply(pc.divide(microseconds, 1_000_000), 1_000_000)
    return pc.if_else(
        pc.fill_null(pc.equal(whole, microseconds), True), literal(clock), literal(f"{clock}.000")
    )


def _known_day(serials: pa.Array) -> pa.Array:
    return pc.and_(pc.greater_equal(serials, _FIRST_SERIAL), pc.less_equal(serials, _LAST_SERIAL))


_Reader = Callable[[pa.Array, pa.Field, TextStyle], _Numbers]
_READERS: tuple[tuple[Callable[[pa.DataType], bool], _Reader], ...] = (
    (pt.is_integer, _integers),
    (pt.is_floating, _floats),
    (pt.is_decimal, _decimals),
    (pt.is_boolean, _booleans),
    (pt.is_date, _dates),
    (pt.is_timestamp, _timestamps),
    (pt.is_time, _times),
    (pt.is_duration, _durations),
)


def _reader(column: pa.Field) -> _Reader | None:
    if text_kind(column) == "decimal":
        return _decimal_texts
    return next((reader for is_type, reader in _READERS if is_type(column.type)), None)
