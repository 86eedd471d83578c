"""How people say what a number or a date looks like: the part of Excel's patterns that every format can show.

* Numbers: `0`, `00000`, `#,##0`, `0.00`, `#,##0.0#`, `0%`, `"€" #,##0.00`, `0.0 "kg"`: digits are rounded
  half away from zero, `#` after the point is a digit where there is one, `%` multiplies by a hundred.
* Dates and times: `yyyy yy mmmm mmm mm m dddd ddd dd d hh h mm m ss s .000 AM/PM`; `m` after an hour
  or before seconds are minutes. Names of months and days are English.
* Text stands in double quotes or after a backslash; signs, spaces and symbols of currencies need neither.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

_LITERAL = r'"[^"]*"|\\.|[ \u00a0\u202f€$£¥%+()\-/:]'
_NUMBER = re.compile(
    rf"(?P<before>(?:{_LITERAL})*)(?P<whole>#,##0|#,##|#|0+)(?:\.(?P<places>0*)(?P<extra>#*))?"
    rf"(?P<after>(?:{_LITERAL})*)"
)
_TOKEN = re.compile(
    r'(?P<text>"[^"]*"|\\.)|(?P<sign>[ \-/:,]|\.(?!0))|'
    r"(?P<field>y{4}|y{2}|m{1,4}|d{1,4}|h{1,2}|s{1,2}|\.0{1,6}|AM/PM)",
    re.IGNORECASE,
)
_MOST_PLACES = 30


@dataclass(frozen=True, slots=True)
class NumberPattern:
    """A number's look.

    Attributes:
        excel: The pattern as it was given.
        grouped: True with separators between thousands.
        least_digits: Digits before the point, with leading zeros.
        places: Digits after the point that are always there.
        extra_places: Digits after these, where they are not zero.
        percent: True when a hundredth is shown as one.
    """

    excel: str
    before: str
    after: str
    grouped: bool
    least_digits: int
    places: int
    extra_places: int
    percent: bool


@dataclass(frozen=True, slots=True)
class DatePattern:
    """A date's or a time's look: fields of the calendar (`yyyy`; minutes are `n`) and text between them."""

    excel: str
    parts: tuple[tuple[str, str], ...]


Pattern = NumberPattern | DatePattern


def parse_pattern(text: str) -> Pattern:
    """A pattern of either kind.

    Raises:
        ValueError: It is not one that every format can show.
    """
    return parse_number_pattern(text) if _NUMBER.fullmatch(text) else parse_date_pattern(text)


@cache
def parse_number_pattern(text: str) -> NumberPattern:
    """A pattern of numbers.

    Raises:
        ValueError: It is not one that every format can show.
    """
    found = _NUMBER.fullmatch(text)
    if found is None:
        raise ValueError(text)
    whole, places, extra = found["whole"], len(found["places"] or ""), len(found["extra"] or "")
    if len(whole) + places + extra > _MOST_PLACES:
        raise ValueError(text)
    return NumberPattern(
        excel=text,
        before=_unquoted(found["before"]),
        after=_unquoted(found["after"]),
        grouped="," in whole,
        least_digits=whole.count("0"),
        places=places,
        extra_places=extra,
        percent="%" in re.sub(r'"[^"]*"|\\.', "", found["before"] + found["after"]),
    )


@cache
def parse_date_pattern(text: str) -> DatePattern:
    """A pattern of dates and times.

    Raises:
        ValueError: It is not one that every format can show.
    """
    parts: list[tuple[str, str]] = []
    end = 0
    for found in _TOKEN.finditer(text):
        if found.start() != end:
            raise ValueError(text)
        end = found.end()
        is_field = found["field"] is not None
        parts.append((found[0].lower(), "") if is_field else ("", _unquoted(found[0])))
    if end != len(text) or not any(name for name, _ in parts):
        raise ValueError(text)
    return DatePattern(text, _with_minutes(parts))


def _with_minutes(parts: list[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """The same parts, `m` and `mm` as `n` and `nn` where they are minutes."""
    fields = [index for index, (name, _) in enumerate(parts) if name]
    renamed = list(parts)
    for position, index in enumerate(fields):
        name = parts[index][0]
        before = parts[fields[position - 1]][0] if position else ""
        after = parts[fields[position + 1]][0] if position + 1 < len(fields) else ""
        if name in ("m", "mm") and (before.startswith("h") or after.startswith("s")):
            renamed[index] = ("n" * len(name), "")
    return tuple(renamed)


def _unquoted(text: str) -> str:
    return re.sub(r'"([^"]*)"|\\(.)', lambda found: found[1] or found[2] or "", text)
