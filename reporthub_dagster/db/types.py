"""Column types of the shared tables: the Go API's on MySQL, the nearest equivalent elsewhere.

They tolerate what the tables may hold: a word that an enum does not know yet, text that is not JSON, and
timestamps that other programs wrote to SQLite in any ISO form.

Times are MySQL's own types there: Dagster makes those that SQLAlchemy has for all databases TIMESTAMP(6) and
DATETIME(6) in every process that imports it, and MySQL refuses `DEFAULT CURRENT_TIMESTAMP` for these.
"""

# ruff: noqa: D102 - the methods are SQLAlchemy's, documented there

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, TIMESTAMP, DateTime, Dialect, String
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeDecorator, TypeEngine, UserDefinedType


class Unreadable:
    """Stands for what a column cannot hold; the row's mapping makes it an error with its place."""


UNREADABLE = Unreadable()


def _is_mysql(dialect: Dialect) -> bool:
    return dialect.name in {"mysql", "mariadb"}


class Words(TypeDecorator[str]):
    """An enum column that reads any word; MySQL gets `ENUM(…)`, the others `VARCHAR`."""

    impl = String
    cache_ok = True

    def __init__(self, *words: str) -> None:
        super().__init__(length=50)
        self.words = words

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if _is_mysql(dialect):
            return dialect.type_descriptor(_MySQLWords(self.words))
        return dialect.type_descriptor(String(50))


class _MySQLWords(UserDefinedType[str]):
    """DDL of a MySQL enum, without SQLAlchemy's check of what is read."""

    cache_ok = True

    def __init__(self, words: tuple[str, ...]) -> None:
        self.words = words

    def get_col_spec(self, **_: Any) -> str:
        return f"ENUM({', '.join(repr(word) for word in self.words)})"


class WallTime(TypeDecorator[datetime]):
    """A TIMESTAMP as the database keeps it: wall time in the hub's zone, without a zone of its own."""

    impl = TIMESTAMP
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "sqlite":
            return dialect.type_descriptor(_SQLiteTimestamp())
        return dialect.type_descriptor(mysql.TIMESTAMP() if _is_mysql(dialect) else TIMESTAMP())


def _parsed(value: str | None) -> datetime | Unreadable | None:
    if value is None:
        return None
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return UNREADABLE


class UtcTime(TypeDecorator[datetime]):
    """An instant in a table of our own: kept in UTC, whole seconds, whatever zone the hub has.

    Wall time of a zone whose clocks change comes twice in autumn, and so can be no key.
    """

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "sqlite":
            return dialect.type_descriptor(_SQLiteTimestamp())
        return dialect.type_descriptor(mysql.DATETIME() if _is_mysql(dialect) else DateTime())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - as above
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None, microsecond=0)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - as above
        return None if value is None else value.replace(tzinfo=UTC)


def exact_text(length: int) -> TypeEngine[str]:
    """Text of our own tables that is compared with text of the Go API's, byte by byte.

    On MySQL two columns of different collations cannot be compared, unless one of them is binary; and the Go
    API's may have any.
    """
    binary = mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_bin")
    return String(length).with_variant(binary, "mysql", "mariadb")


class _SQLiteTimestamp(UserDefinedType[datetime]):
    """Text `YYYY-MM-DD HH:MM:SS`, as SQLite's own CURRENT_TIMESTAMP; reads every ISO 8601 form."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "TIMESTAMP"

    def bind_processor(self, dialect: Dialect) -> Any:  # noqa: ARG002 - the signature is SQLAlchemy's
        return lambda value: None if value is None else value.isoformat(sep=" ")

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:  # noqa: ARG002 - as above
        return _parsed


class Document(TypeDecorator[Any]):
    """A JSON column; text that is not JSON is `UNREADABLE`, so that one bad row stops no other."""

    impl = JSON
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(JSON(none_as_null=True))
        return dialect.type_descriptor(_JsonText())

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        if value is None or dialect.name == "postgresql":
            return value
        return json.dumps(value, ensure_ascii=False, allow_nan=False)

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:  # noqa: ARG002 - as above
        for _ in range(2):  # some writers store the document as a JSON string that holds JSON
            if isinstance(value, (str, bytes)):
                if not value.strip():
                    return None
                try:
                    value = json.loads(value)
                except ValueError:
                    return UNREADABLE
        return value


class _JsonText(UserDefinedType[Any]):
    """A column declared JSON whose text passes untouched: `Document` reads and writes it."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "JSON"
