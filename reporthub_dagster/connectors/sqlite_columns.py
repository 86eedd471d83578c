"""Types for SQLite's columns, which have none that bind: the declared one is a guess, the values decide.

A column starts with the type that its declaration promises, or with what its first values are. When later
values do not fit, it is read again as the next type that holds them: whole numbers → doubles (only while
every number stays exact) → exact decimal text → text. Text holds everything: numbers as Python prints them,
blobs as `X'0a1b'`. Each step holds strictly more than the one before, so there are at most four.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from reporthub_dagster.storage.spool import text_field, text_kind

_NOTHING = type(None)
_DECIMAL = re.compile(r"(?:DECIMAL|NUMERIC)\s*(?:\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\))?$")
_LARGEST_DECIMAL = 38


class Misfit(Exception):  # noqa: N818 - an answer, not an error
    """A value does not fit a type."""


def declared(name: str, declaration: str) -> pa.Field | None:
    """The field that a column's declaration promises; None when it promises nothing.

    The words are those that people write; what remains follows SQLite's own rules of affinity
    (https://www.sqlite.org/datatype3.html#determination_of_column_affinity).
    """
    word = declaration.strip().upper()
    exact = _DECIMAL.match(word)
    if exact and exact[1] and int(exact[2] or 0) <= int(exact[1]) <= _LARGEST_DECIMAL:
        return pa.field(name, pa.decimal128(int(exact[1]), int(exact[2] or 0)))
    if exact:
        return text_field(name, "decimal")
    if word.startswith("JSON"):
        return text_field(name, "json")
    for part, kind in _WORDS:
        if part in word:
            return pa.field(name, kind)
    return None


_WORDS = (
    ("BOOL", pa.bool_()),
    ("DATETIME", pa.timestamp("us")),
    ("TIMESTAMP", pa.timestamp("us")),
    ("DATE", pa.date32()),
    ("INT", pa.int64()),
    ("CHAR", pa.utf8()),
    ("CLOB", pa.utf8()),
    ("TEXT", pa.utf8()),
    ("BLOB", pa.binary()),
    ("REAL", pa.float64()),
    ("FLOA", pa.float64()),
    ("DOUB", pa.float64()),
)


def inferred(name: str, values: Sequence[Any]) -> pa.Field | None:
    """The narrowest field that holds these values exactly; None when they are all NULL."""
    if not _types(values):
        return None
    return next(field for field in _ladder(name) if _holds(field, values))


def wider(field: pa.Field, values: Sequence[Any]) -> pa.Field:
    """The next field that holds what `field` does not; plain text at the latest."""
    reached = _rank(field)
    return next(
        candidate
        for candidate in _ladder(field.name)
        if _rank(candidate) > reached and _holds(candidate, values)
    )


def array_of(field: pa.Field, values: Sequence[Any]) -> pa.Array:
    """The values as an array of the field's type.

    Raises:
        Misfit: One of them does not fit; never for plain text.
    """
    kind, types = field.type, _types(values)
    if text_kind(field) == "decimal":
        _require(types <= {int, float})
        return pa.array([None if value is None else _digits(value) for value in values], kind)
    if text_kind(field) == "json":
        _require(bytes not in types)
    if pa.types.is_string(kind):
        return pa.array(values if types <= {str} else [_text(value) for value in values], kind)
    _require(types <= _ACCEPTED[kind.id])
    try:
        return _CONVERT.get(kind.id, pa.array)(values, kind)
    except (pa.ArrowInvalid, OverflowError):
        raise Misfit from None


def _booleans(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    _require(set(values) <= {0, 1, None})
    return pa.array([None if value is None else bool(value) for value in values], kind)


def _doubles(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    _require(all(float(value) == value for value in values if type(value) is int))
    return pa.array([None if value is None else float(value) for value in values], kind)


def _decimals(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    return pa.array([None if value is None else _finite(value) for value in values], kind)


def _from_text(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Dates and times of the years 1 to 9999 in SQLite's own form, ISO 8601."""
    _require(not any(value.startswith("0000") for value in values if value))
    return pc.cast(pa.array(values, pa.utf8()), kind)


_ACCEPTED: dict[int, set[type]] = {
    pa.bool_().id: {int},
    pa.int64().id: {int},
    pa.float64().id: {int, float},
    pa.decimal128(1).id: {int, float},
    pa.date32().id: {str},
    pa.timestamp("us").id: {str},
    pa.binary().id: {bytes},
}
_CONVERT = {
    pa.bool_().id: _booleans,
    pa.float64().id: _doubles,
    pa.decimal128(1).id: _decimals,
    pa.date32().id: _from_text,
    pa.timestamp("us").id: _from_text,
}


def _ladder(name: str) -> tuple[pa.Field, ...]:
    """From narrow to wide; a type holds nothing of those on its own step."""
    return (
        pa.field(name, pa.int64()),
        pa.field(name, pa.binary()),
        pa.field(name, pa.float64()),
        text_field(name, "decimal"),
        pa.field(name, pa.utf8()),
    )


def _rank(field: pa.Field) -> int:
    """How high a field stands; what only a declaration gives stands below the ladder."""
    ladder = [(step.type, text_kind(step)) for step in _ladder(field.name)]
    place = (field.type, text_kind(field))
    return ladder.index(place) + 1 if place in ladder else 0


def _holds(field: pa.Field, values: Sequence[Any]) -> bool:
    if pa.types.is_string(field.type) and text_kind(field) is None:
        return True
    try:
        array_of(field, values)
    except Misfit:
        return False
    return True


def _types(values: Sequence[Any]) -> set[type]:
    return set(map(type, values)) - {_NOTHING}


def _require(condition: bool) -> None:
    if not condition:
        raise Misfit


def _finite(value: float) -> Decimal:
    number = Decimal(repr(value))
    _require(number.is_finite())
    return number


def _digits(value: float) -> str:
    """All digits without an exponent; SQLite has no NaN."""
    number = Decimal(repr(value))
    return format(number, "f") if number.is_finite() else str(number)


def _text(value: Any) -> str | None:
    if isinstance(value, bytes):
        return f"X'{value.hex()}'"
    return value if value is None or isinstance(value, str) else repr(value)
