"""Tables of our own that an earlier release created: the columns they lack are added."""

from __future__ import annotations

from sqlalchemy import Connection, MetaData, inspect
from sqlalchemy.schema import CreateColumn

OURS = "reporthub_"
"""What the names of our tables begin with; the others belong to the Go API and are never altered."""


def add_missing_columns(connection: Connection, tables: MetaData) -> list[str]:
    """Add what our own tables lack; returns `table.column` of each.

    A new column must allow NULL or have a default of the server: rows are there already.
    """
    inspector = inspect(connection)
    added = []
    for table in tables.sorted_tables:
        if not table.name.startswith(OURS):
            continue
        present = {column["name"] for column in inspector.get_columns(table.name)}
        for column in table.columns:
            if column.name not in present:
                definition = CreateColumn(column).compile(dialect=connection.dialect)
                connection.exec_driver_sql(f"ALTER TABLE {table.name} ADD COLUMN {definition}")
                added.append(f"{table.name}.{column.name}")
    return added
