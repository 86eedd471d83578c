"""Tables of our own that an earlier release created: the columns and indexes they lack are added."""

from __future__ import annotations

from sqlalchemy import Connection, Inspector, MetaData, Table, inspect
from sqlalchemy.schema import CreateColumn

OURS = "reporthub_"
"""What the names of our tables begin with; the others belong to the Go API and are never altered."""


def add_what_is_missing(connection: Connection, tables: MetaData) -> list[str]:
    """Add what our own tables lack; returns `table.column` and `table.index` of each.

    A new column must allow NULL or have a default of the server: rows are there already.
    """
    inspector = inspect(connection)
    added = []
    for table in tables.sorted_tables:
        if table.name.startswith(OURS):
            added += _columns(connection, inspector, table)
            added += _indexes(connection, inspector, table)
    return added


def _columns(connection: Connection, inspector: Inspector, table: Table) -> list[str]:
    present = {column["name"] for column in inspector.get_columns(table.name)}
    missing = [column for column in table.columns if column.name not in present]
    for column in missing:
        definition = CreateColumn(column).compile(dialect=connection.dialect)
        connection.exec_driver_sql(f"ALTER TABLE {table.name} ADD COLUMN {definition}")
    return [f"{table.name}.{column.name}" for column in missing]


def _indexes(connection: Connection, inspector: Inspector, table: Table) -> list[str]:
    present = {index["name"] for index in inspector.get_indexes(table.name)}
    missing = [index for index in table.indexes if index.name not in present]
    for index in missing:
        index.create(connection)
    return sorted(f"{table.name}.{index.name}" for index in missing)
