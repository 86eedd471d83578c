"""Values of BSON as Python has them, and values of a query as BSON has them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

from bson import DBRef, Decimal128, Int64, ObjectId, Regex, Timestamp, json_util
from bson.binary import UuidRepresentation
from bson.code import Code
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.datetime_ms import DatetimeMS
from bson.max_key import MaxKey
from bson.min_key import MinKey

from reporthub_dagster.reporting.bound_query import Bind

CODEC: CodecOptions[Any] = CodecOptions(
    tz_aware=True,
    tzinfo=UTC,
    uuid_representation=UuidRepresentation.STANDARD,
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
)
"""Dates are aware; one beyond the year 9999 is no error but the text of its milliseconds since 1970."""
_EXTENDED = frozenset({"$oid", "$date", "$numberDecimal", "$numberLong", "$uuid", "$regularExpression"})
_QUERIES = frozenset({"$match", "query", "restrictSearchWithMatch"})


def plain(value: Any) -> Any:
    """A value of a document in Python's own types, documents and lists too."""
    convert = _PLAIN.get(type(value))
    return convert(value) if convert else value


def plain_document(document: Mapping[str, Any]) -> dict[str, Any]:
    """A document of which every value is `plain`."""
    return {key: plain(value) for key, value in document.items()}


_PLAIN: dict[type, Any] = {
    dict: plain_document,
    list: lambda value: [plain(item) for item in value],
    Int64: int,
    Decimal128: Decimal128.to_decimal,
    Timestamp: Timestamp.as_datetime,
    Regex: lambda value: f"/{value.pattern}/",
    DBRef: lambda value: plain_document(value.as_doc()),
    DatetimeMS: lambda value: str(int(value)),
    **dict.fromkeys((ObjectId, Code, MinKey, MaxKey), str),
}


def resolved(tree: Any, *, expression: bool = False) -> Any:
    """A query's tree with its binds and its extended JSON as values of BSON.

    Args:
        tree: As `read_document` gives it.
        expression: True where MongoDB computes: a text like `$price` would be a field there, so what comes
            from a bind is marked as the text that it is.
    """
    if isinstance(tree, Bind):
        value = _sendable(tree.value)
        return {"$literal": value} if expression and _looks_like_a_field(value) else value
    if isinstance(tree, list):
        return [resolved(item, expression=expression) for item in tree]
    if not isinstance(tree, dict):
        return tree
    if tree.keys() & _EXTENDED:
        inner = {key: resolved(value) for key, value in tree.items()}
        moment = inner.get("$date")
        return moment if isinstance(moment, datetime) else json_util.object_hook(inner)
    return {key: resolved(value, expression=_computes(key, expression)) for key, value in tree.items()}


def _computes(key: str, expression: bool) -> bool:
    if key in _QUERIES or key == "$literal":
        return False
    return expression or key == "$expr"


def _looks_like_a_field(value: Any) -> bool:
    return any(isinstance(item, str) and item.startswith("$") for item in _items(value))


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _sendable(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_sendable(item) for item in value]
    if isinstance(value, Decimal):
        return Decimal128(value)
    if isinstance(value, datetime):
        return value
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    return value.isoformat() if isinstance(value, time) else value
