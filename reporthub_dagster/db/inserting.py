"""Insert-or-leave: rows whose unique key another process may write at the same moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Insert, insert
from sqlalchemy.dialects import postgresql, sqlite

from reporthub_dagster.db.models import Base

MOST_IDS = 500
"""Values in one `IN (…)`, rows in one `INSERT`: every database takes so many."""


def insert_new(connection: Connection, model: type[Base], values: Mapping[str, Any]) -> bool:
    """Insert a row unless its key is there already; returns whether it was inserted.

    Only for tables of our own: on MySQL the statement also forgives what a foreign key or an enum refuses.
    """
    # Of an INSERT the driver's count is lost otherwise before anybody can read it.
    statement = _insert_or_leave(connection, model).values(values).execution_options(preserve_rowcount=True)
    return connection.execute(statement).rowcount == 1


def insert_many_new(connection: Connection, model: type[Base], rows: Sequence[Mapping[str, Any]]) -> None:
    """As `insert_new`, for at least one row and at most MOST_IDS."""
    connection.execute(_insert_or_leave(connection, model), list(rows))


def chunks(ids: Sequence[Any]) -> list[Sequence[Any]]:
    """The ids in portions that fit into one `IN (…)`."""
    return [ids[start : start + MOST_IDS] for start in range(0, len(ids), MOST_IDS)]


def _insert_or_leave(connection: Connection, model: type[Base]) -> Insert:
    if connection.dialect.name == "postgresql":
        return postgresql.insert(model).on_conflict_do_nothing()
    if connection.dialect.name == "sqlite":
        return sqlite.insert(model).on_conflict_do_nothing()
    return insert(model).prefix_with("IGNORE")
