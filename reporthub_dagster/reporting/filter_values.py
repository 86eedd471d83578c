"""What the `type` and `operator` of a filter make of its value."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from reporthub_dagster.reporting.records import TemplateValue
from reporthub_dagster.reporting.template_values import text_of

OPERATORS = ("=", "!=", ">", ">=", "<", "<=", "LIKE", "IN")
_ISO_DATE = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]|$)")
_MOST_DIGITS = 300
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


class MisfitError(Exception):
    """A value is not of its type, or is a list where one value belongs; the text says what it is instead."""


def operands(operator: str, kind: str, value: TemplateValue, dialect: str) -> list[Any]:
    """The values to bind for one condition: one, or those of an IN, from which NULLs are left out.

    Args:
        operator: One of `OPERATORS`.
        kind: One of `TYPES`.
        value: Not None.
        dialect: sqlglot's name of the SQL; SQLite has no exact decimals.

    Raises:
        MisfitError: A value is not of its type, or is a list where one value belongs.
    """
    read = TYPES[kind]
    if operator == "IN":
        items = value if isinstance(value, (list, tuple)) else [value]
        return [_for(dialect, read(item)) for item in items if item is not None]
    if isinstance(value, (list, tuple)):
        raise MisfitError("a list, which only IN takes")
    if isinstance(value, dict):
        raise MisfitError("an object")
    if operator == "LIKE":
        # Wildcards of the value itself stay: people write them on purpose.
        return [f"%{text_of(read(value))}%"]
    return [_for(dialect, read(value))]


def type_of(value: TemplateValue) -> str:
    """The type of a filter that does not name one, from its JSON value."""
    if isinstance(value, (list, tuple)):
        return type_of(value[0]) if value else "string"
    if isinstance(value, bool):
        return "boolean"
    return "number" if isinstance(value, (int, float, Decimal)) else "string"


def _string(value: TemplateValue) -> str:
    if isinstance(value, (bool, dict, list, tuple)):
        raise MisfitError("not a string")
    return text_of(value)


def _number(value: TemplateValue) -> int | Decimal:
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal, str)):
        raise MisfitError("not a number")
    try:
        number = Decimal(str(value).strip())
    except InvalidOperation:
        raise MisfitError("not a number") from None
    if not number.is_finite() or abs(number.adjusted()) > _MOST_DIGITS:
        raise MisfitError("not a number that a database holds")
    return int(number) if number == number.to_integral_value() else number


def _date(value: TemplateValue) -> str:
    """An ISO date or time as text with a space: what every database compares with its own types."""
    text = text_of(value).strip()
    if not _ISO_DATE.match(text):
        raise MisfitError("not an ISO date or time")
    try:
        datetime.fromisoformat(text)
    except ValueError:
        raise MisfitError("not an ISO date or time") from None
    return text.replace("T", " ")


def _boolean(value: TemplateValue) -> bool:
    text = text_of(value).strip().lower()
    if text not in _BOOLEANS:
        raise MisfitError("not true or false")
    return _BOOLEANS[text]


def _for(dialect: str, value: Any) -> Any:
    return float(value) if dialect == "sqlite" and isinstance(value, Decimal) else value


TYPES: dict[str, Callable[[TemplateValue], Any]] = {
    "number": _number,
    "string": _string,
    "date": _date,
    "boolean": _boolean,
}
