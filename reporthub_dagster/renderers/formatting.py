"""Cells as people want to read them: `cell_texts`, then separators and patterns of the rendering options."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation, localcontext
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from reporthub_dagster.renderers.base import Remarks, RenderRequest
from reporthub_dagster.renderers.captions import MONTHS, WEEKDAYS
from reporthub_dagster.renderers.cells import TEXT, TextStyle, cell_texts, is_numeric, joined, literal
from reporthub_dagster.renderers.options import RenderOptions
from reporthub_dagster.renderers.patterns import DatePattern, NumberPattern, Pattern
from reporthub_dagster.renderers.zones import wall_clock

PATTERN_UNUSED = "its pattern in column_formats does not fit its type and is not used"
_MOST_DIGITS = 10_000
# Where a field stands in `2025-01-31 08:00:00.000000`.
_PLACES = {
    "yyyy": (0, 4),
    "yy": (2, 4),
    "mm": (5, 7),
    "dd": (8, 10),
    "hh": (11, 13),
    "nn": (14, 16),
    "ss": (17, 19),
}


@dataclass(frozen=True, slots=True)
class Look:
    """What the options say about the text of cells.

    Attributes:
        style: What a cell is without them.
        thousands: Between thousands where a pattern asks for it; never empty.
        grouped: True when numbers with a fraction have it without a pattern as well.
    """

    style: TextStyle
    decimal_separator: str = "."
    thousands: str = ","
    grouped: bool = False
    date: DatePattern | None = None
    datetime: DatePattern | None = None
    columns: dict[str, Pattern] = field(default_factory=dict)


def look_of(request: RenderRequest, options: RenderOptions) -> Look:
    """How cells of a request are shown."""
    return Look(
        style=TextStyle(ZoneInfo(request.window.timezone)),
        decimal_separator=options.decimal_separator,
        thousands=options.thousands_separator or ("." if options.decimal_separator == "," else ","),
        grouped=bool(options.thousands_separator),
        date=options.date_pattern(with_time=False),
        datetime=options.date_pattern(with_time=True),
        columns=options.column_patterns(),
    )


def pattern_of(column: pa.Field, look: Look) -> Pattern | None:
    """The pattern of a column: its own, or that of its type; None where none fits."""
    own = look.columns.get(column.name)
    if isinstance(own, NumberPattern):
        return own if _is_number(column) else None
    if pt.is_date(column.type):
        return own or look.date
    if pt.is_timestamp(column.type):
        return own or look.datetime
    return own if pt.is_time(column.type) else None


def note_unused_patterns(fields: list[pa.Field], look: Look, remarks: Remarks) -> None:
    """Remember the columns whose own pattern does not fit."""
    for column in fields:
        if column.name in look.columns and pattern_of(column, look) is None:
            remarks.say(column.name, PATTERN_UNUSED)


def display_texts(array: pa.Array, column: pa.Field, look: Look) -> pa.Array:
    """A column as large_utf8, nulls kept.

    Raises:
        PermanentError: The type has no text form.
    """
    pattern = pattern_of(column, look)
    if isinstance(pattern, DatePattern):
        return date_texts(array, pattern, look)
    texts = cell_texts(array, column, look.style)
    if not _is_number(column):
        return texts
    if pattern is not None:
        return _each(texts, lambda text: number_text(text, pattern, look))
    if look.grouped and not pt.is_integer(column.type):
        return _each(texts, lambda text: _separated(text, look))
    if look.decimal_separator != ".":
        return pc.replace_substring(texts, ".", look.decimal_separator)
    return texts


def number_text(text: str, pattern: NumberPattern, look: Look) -> str:
    """A number in a pattern; what is no finite number stays as it is."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        return text
    if not number.is_finite() or number.adjusted() > _MOST_DIGITS:
        return text
    with localcontext(prec=2 * _MOST_DIGITS, rounding=ROUND_HALF_UP):
        number = number * 100 if pattern.percent else number
        most = pattern.places + pattern.extra_places
        digits = f"{abs(number):.{most}f}"
    whole, _, fraction = digits.partition(".")
    fraction = fraction[: pattern.places] + fraction[pattern.places :].rstrip("0")
    whole = whole.lstrip("0").rjust(pattern.least_digits, "0")
    if pattern.grouped:
        whole = _grouped(whole, look)
    sign = "-" if number < 0 and digits.strip("0.") else ""
    shown = whole + (look.decimal_separator + fraction if fraction else "")
    return f"{sign}{pattern.before}{shown}{pattern.after}"


def date_texts(array: pa.Array, pattern: DatePattern, look: Look) -> pa.Array:
    """Dates, times or timestamps in a pattern; instants are wall-clock time of the window's zone."""
    moments = _moments(array, look)
    plain = moments.cast(TEXT)
    twelve = any(name == "am/pm" for name, _ in pattern.parts)
    parts = [
        literal(text) if not name else _field(name, moments, plain, twelve=twelve)
        for name, text in pattern.parts
    ]
    return joined(*parts) if any(name for name, _ in pattern.parts) else plain


def _moments(array: pa.Array, look: Look) -> pa.Array:
    if pt.is_time(array.type):
        return array.cast(pa.time64("us")).cast(pa.int64()).cast(pa.timestamp("us"))
    if pt.is_timestamp(array.type) and array.type.tz is not None:
        return wall_clock(array, look.style.zone)[0]
    return array.cast(pa.timestamp("us"))


def _field(name: str, moments: pa.Array, plain: pa.Array, *, twelve: bool) -> pa.Array:
    if name in ("mmm", "mmmm"):
        return _named(MONTHS, pc.subtract(pc.month(moments), 1), short=name == "mmm")
    if name in ("ddd", "dddd"):
        return _named(WEEKDAYS, pc.day_of_week(moments), short=name == "ddd")
    if name == "am/pm":
        return pc.if_else(pc.less(pc.hour(moments), 12), literal("AM"), literal("PM"))
    if name.startswith("."):
        return pc.utf8_slice_codeunits(plain, 19, 19 + len(name))
    if twelve and name in ("h", "hh"):
        hours = [str((hour + 11) % 12 + 1) for hour in range(24)]
        text = pa.array(hours, TEXT).take(pc.hour(moments))
    else:
        text = pc.utf8_slice_codeunits(plain, *_PLACES[name if name in _PLACES else name * 2])
    if len(name) > 1:
        return pc.utf8_lpad(text, 2, "0")
    return pc.replace_substring_regex(text, "^0(.)", r"\1")


def _named(names: tuple[str, ...], index: pa.Array, *, short: bool) -> pa.Array:
    return pa.array([name[:3] if short else name for name in names], TEXT).take(index)


def _separated(text: str, look: Look) -> str:
    """A number's own digits with separators."""
    whole, point, rest = text.partition(".")
    sign, digits = ("-", whole[1:]) if whole.startswith("-") else ("", whole)
    if not digits.isdigit():
        return text.replace(".", look.decimal_separator)
    return f"{sign}{_grouped(digits, look)}{look.decimal_separator if point else ''}{rest}"


def _grouped(digits: str, look: Look) -> str:
    """Thousands apart; of any length, where `int` knows an end."""
    first = len(digits) % 3 or 3
    rest = (digits[at : at + 3] for at in range(first, len(digits), 3))
    return look.thousands.join([digits[:first], *rest])


def _is_number(column: pa.Field) -> bool:
    return is_numeric(column) and not pt.is_duration(column.type)


def _each(texts: pa.Array, write: Callable[[str], str]) -> pa.Array:
    return pa.array([None if text is None else write(text) for text in texts.to_pylist()], TEXT)


def display_total(text: str, column: pa.Field, look: Look) -> str:
    """A sum of a column, as its cells are shown."""
    pattern = pattern_of(column, look)
    if isinstance(pattern, NumberPattern):
        return number_text(text, pattern, look)
    if look.grouped and not pt.is_integer(column.type):
        return _separated(text, look)
    return text.replace(".", look.decimal_separator)
