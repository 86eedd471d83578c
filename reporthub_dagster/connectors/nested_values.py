"""Values of documents as types: the narrowest that is exact, what is wider, and what a person may declare."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa

from reporthub_dagster.reporting.decimal_text import decimal_text
from reporthub_dagster.storage.spool import text_field, text_kind

_DECIMAL = re.compile(r"decimal\((\d+),\s*(\d+)\)")
_PLAIN_TYPES: dict[str, pa.DataType] = {
    "text": pa.utf8(),
    "integer": pa.int64(),
    "double": pa.float64(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
    "timestamp with time zone": pa.timestamp("us", "UTC"),
    "time": pa.time64("us"),
    "binary": pa.binary(),
}
LARGEST_EXACT = 2**53
"""Beyond it doubles leave whole numbers out."""
TYPES = (*_PLAIN_TYPES, "decimal", "decimal(p,s)", "json")
"""What a person may declare a column as."""


def declared_field(name: str, word: str) -> pa.Field:
    """The field that a declaration means.

    Raises:
        ValueError: It is none of `TYPES`.
    """
    kind = " ".join(word.lower().split())
    if kind in ("decimal", "json"):
        return text_field(name, "decimal" if kind == "decimal" else "json")
    exact = _DECIMAL.fullmatch(kind)
    if exact and 0 <= int(exact[2]) <= int(exact[1]) <= 38 and int(exact[1]):  # noqa: PLR2004 - Arrow's digits
        return pa.field(name, pa.decimal128(int(exact[1]), int(exact[2])))
    if kind not in _PLAIN_TYPES:
        raise ValueError(f"{word!r} is none of {', '.join(TYPES)}")
    return pa.field(name, _PLAIN_TYPES[kind])


class MisfitError(Exception):
    """A value does not fit a type; which one, it does not say."""


def field_of(name: str, values: Sequence[Any]) -> pa.Field:
    """The narrowest field that holds these values exactly; of type null where there are none."""
    return next(field for field in _ladder(name, values) if _holds(field, values))


def wider_field(field: pa.Field, values: Sequence[Any], *, exact: bool = False) -> pa.Field:
    """The next field that holds what `field` does and these values as well; plain text at the latest.

    Args:
        field: Too narrow.
        values: What it must hold, beside what it held.
        exact: It held whole numbers that no double shows.
    """
    if pa.types.is_null(field.type):
        return field_of(field.name, values)
    steps = [(pa.int64(), None), (pa.float64(), None), (pa.utf8(), "decimal")]
    place = (field.type, text_kind(field))
    candidates = [pa.field(field.name, pa.utf8())]
    if place in steps:
        numbers = [pa.field(field.name, pa.float64()), text_field(field.name, "decimal")]
        candidates = [*numbers[1 if exact else steps.index(place) :], *candidates]
    elif pa.types.is_date(field.type):
        candidates = [pa.field(field.name, pa.timestamp("us")), *candidates]
    return next(candidate for candidate in candidates if _holds(candidate, values))


def array_of(field: pa.Field, values: Sequence[Any]) -> pa.Array:
    """The values as an array of the field's type.

    Raises:
        MisfitError: One of them does not fit; never for plain text.
    """
    kind, special = field.type, text_kind(field)
    if special == "decimal":
        return pa.array([None if value is None else _digits(value) for value in values], kind)
    if special == "json":
        return pa.array([None if value is None else json_text(value) for value in values], kind)
    if pa.types.is_string(kind):
        return pa.array([None if value is None else plain_text(value) for value in values], kind)
    accepted = _ACCEPTED[kind.id]
    for value in values:
        if value is not None and type(value) not in accepted:
            raise MisfitError
    if kind == pa.float64():
        values = [None if value is None else _double(value) for value in values]
    elif pa.types.is_timestamp(kind):
        values = [None if value is None else _moment(value, aware=kind.tz is not None) for value in values]
    try:
        return pa.array(values, kind)
    except (pa.ArrowInvalid, OverflowError):
        raise MisfitError from None


def plain_text(value: Any) -> str:
    """A value as text: what JSON has a form for has that, without the quotes of a string."""
    return value if isinstance(value, str) else json_text(value).strip('"')


def json_text(value: Any) -> str:
    """JSON with every digit of its numbers; what JSON has no type for is a string."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{json.dumps(str(k))}: {json_text(v)}' for k, v in value.items())}}}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(json_text, value))}]"
    if isinstance(value, Decimal) and value.is_finite():
        return decimal_text(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, bytes):
        return f'"{value.hex()}"'
    return json.dumps(value.isoformat(sep=" ") if isinstance(value, datetime) else str(value))


def _ladder(name: str, values: Sequence[Any]) -> Iterator[pa.Field]:
    """From narrow to wide, beginning with what the first value is."""
    first = next((value for value in values if value is not None), None)
    if first is None:
        yield pa.field(name, pa.null())
    elif isinstance(first, (Mapping, list, tuple)):
        yield text_field(name, "json")
    elif isinstance(first, datetime):
        yield pa.field(name, pa.timestamp("us", "UTC" if first.tzinfo else None))
    elif type(first) in _FIRST:
        yield pa.field(name, _FIRST[type(first)])
    if type(first) is date:
        yield pa.field(name, pa.timestamp("us"))
    if isinstance(first, (int, float, Decimal)) and not isinstance(first, bool):
        yield from (pa.field(name, pa.float64()), text_field(name, "decimal"))
    yield pa.field(name, pa.utf8())


_FIRST: dict[type, pa.DataType] = {
    bool: pa.bool_(),
    int: pa.int64(),
    date: pa.date32(),
    time: pa.time64("us"),
    timedelta: pa.duration("us"),
    bytes: pa.binary(),
}
_ACCEPTED: dict[int, set[type]] = {
    pa.null().id: set(),
    pa.bool_().id: {bool},
    pa.int64().id: {int},
    pa.float64().id: {int, float},
    pa.decimal128(1).id: {int, Decimal},
    pa.date32().id: {date},
    pa.timestamp("us").id: {datetime, date},
    pa.time64("us").id: {time},
    pa.duration("us").id: {timedelta},
    pa.binary().id: {bytes},
}


def _holds(field: pa.Field, values: Sequence[Any]) -> bool:
    try:
        array_of(field, values)
    except MisfitError:
        return False
    return True


def holds_declared(field: pa.Field, value: Any) -> bool:
    """True when a value is of its declared type."""
    try:
        return _holds(field, [meant(value, field.type)])
    except MisfitError:
        return False


def _double(value: Any) -> float:
    try:
        number = float(value)
    except OverflowError:
        raise MisfitError from None
    if isinstance(value, int) and abs(value) > LARGEST_EXACT:
        raise MisfitError
    return number


def _digits(value: Any) -> str:
    """All digits without an exponent."""
    if type(value) not in (int, float, Decimal):
        raise MisfitError
    number = value if isinstance(value, Decimal) else Decimal(repr(value))
    return decimal_text(number)


def _moment(value: Any, *, aware: bool) -> datetime:
    """A moment; a day is its beginning, where no zone is in play."""
    moment = value if isinstance(value, datetime) else datetime.combine(value, time())
    if (moment.tzinfo is not None) != aware:
        raise MisfitError
    return moment.astimezone(UTC) if aware else moment


def meant(value: Any, kind: pa.DataType) -> Any:
    """A value as its declared type has it: JSON knows neither days nor decimals.

    Raises:
        MisfitError: It is a text that says no such value.
    """
    if isinstance(value, float) and pa.types.is_decimal(kind):
        return Decimal(repr(value))
    read = _READ.get(kind.id)
    if read is None or not isinstance(value, str):
        return value
    try:
        return read(value.strip())
    except (ValueError, ArithmeticError):
        raise MisfitError from None


def _in_microseconds(text: str) -> str:
    """Python passes over digits beyond these."""
    if re.search(r"[.,]\d{6}0*[1-9]", text):
        raise ValueError
    return text


def _without_zone(value: time) -> time:
    if value.tzinfo is not None:
        raise ValueError
    return value


_READ: dict[int, Callable[[str], Any]] = {
    pa.int64().id: int,
    pa.decimal128(1).id: Decimal,
    pa.date32().id: date.fromisoformat,
    pa.timestamp("us").id: lambda text: datetime.fromisoformat(_in_microseconds(text)),
    pa.time64("us").id: lambda text: _without_zone(time.fromisoformat(_in_microseconds(text))),
}
