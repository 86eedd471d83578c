"""A query as a call of `sp_executesql`: its text and its values apart, each value under a declared type."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from reporthub_dagster.reporting.bound_query import BoundQuery
from reporthub_dagster.reporting.errors import PermanentError

_MOST_DIGITS = 38
_BIGINT = 2**63
_MOST_CHARACTERS = 4000
_TYPES: tuple[tuple[type, str], ...] = (
    (bool, "bit"),
    (float, "float"),
    (datetime, "datetime2(6)"),
    (date, "date"),
    (time, "time(6)"),
    (UUID, "uniqueidentifier"),
    (bytes, "varbinary(max)"),
)


@dataclass(frozen=True, slots=True)
class Call:
    """What `sp_executesql` gets.

    Attributes:
        text: The query, with `@p1`, `@p2`, … where its values go: a name for each bind, however often used.
        declared: Their types.
        places: Where the driver puts text, declarations and values.
        values: In the order of the places; a NULL has none.
    """

    text: str
    declared: str
    places: str
    values: tuple[Any, ...]


def call_of(query: BoundQuery) -> Call:
    """The call for a query.

    Raises:
        PermanentError: A value is none that SQL Server could hold.
    """
    numbers = {name: f"@p{number}" for number, name in enumerate(query.values, start=1)}
    text = "".join(part if isinstance(part, str) else numbers[part.name] for part in query.parts)
    typed = [(numbers[name], *_typed(name, value)) for name, value in query.values.items()]
    declared = ", ".join(f"{number} {kind}" for number, kind, _ in typed)
    places = ["?", *(["?"] if typed else []), *("NULL" if value is None else "?" for *_, value in typed)]
    values = (text, *([declared] if typed else []), *(value for *_, value in typed if value is not None))
    return Call(text, declared, ", ".join(places), values)


def _typed(name: str, value: Any) -> tuple[str, Any]:
    """The type that a value is declared with, and the value as the driver takes it."""
    if value is None:
        return f"nvarchar({_MOST_CHARACTERS})", None
    if isinstance(value, str):
        return _text_type(value), value
    if isinstance(value, datetime) and value.tzinfo is not None:
        return "datetimeoffset(6)", value
    for kind, declared in _TYPES:
        if isinstance(value, kind):
            return declared, value
    if isinstance(value, int) and -_BIGINT <= value < _BIGINT:
        return "bigint", value
    if isinstance(value, (int, Decimal)):
        return _decimal(name, Decimal(value))
    raise PermanentError(f"the value of {name} cannot be sent to SQL Server: it is a {type(value).__name__}")


def _text_type(value: str) -> str:
    """Plain text as `varchar`: compared with a column of that type, it leaves the column's index usable."""
    word, units = ("varchar", 8000) if value.isascii() else ("nvarchar", _MOST_CHARACTERS)
    return f"{word}({units})" if len(value.encode("utf-16le")) // 2 <= units else f"{word}(max)"


def _decimal(name: str, value: Decimal) -> tuple[str, Decimal]:
    sign, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int):
        raise PermanentError(f"the value of {name} is {value}, which SQL Server does not have")
    if exponent > 0:
        digits, exponent = digits + (0,) * exponent, 0
    scale = -exponent
    precision = max(len(digits), scale, 1)
    if precision > _MOST_DIGITS:
        raise PermanentError(f"the value of {name} has more than {_MOST_DIGITS} digits")
    return f"decimal({precision},{scale})", Decimal((sign, digits, exponent))
