"""The Go configuration API's side of the shared database: its tables and its rows, in plain SQL.

Nothing here goes through our own models: what these tests insert is what docs and contract describe.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Engine, create_engine, text

MYSQL_TABLES = Path(__file__).with_name("go_api_mysql.sql")


class GoApi:
    """A client of the shared database that knows nothing of ReportHub.

    Args:
        url: SQLAlchemy URL of the shared database.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._engine = create_engine(url)

    @classmethod
    def over(cls, engine: Engine) -> Self:
        """A client of a database that lives within an engine."""
        client = cls(engine.url.render_as_string(hide_password=False))
        client.close()
        vars(client)["_engine"] = engine
        return client

    def create_tables(self) -> None:
        """The eight tables, as the Go API's own migration makes them on MySQL."""
        with self._engine.begin() as connection:
            for statement in MYSQL_TABLES.read_text(encoding="utf-8").split(";\n"):
                if statement.strip():
                    connection.execute(text(statement))

    def insert(self, table: str, **values: Any) -> None:
        """Insert a row; JSON columns are given as mappings."""
        plain = {
            name: json.dumps(value) if isinstance(value, (Mapping, list)) else value
            for name, value in values.items()
        }
        columns = ", ".join(plain)
        binds = ", ".join(f":{name}" for name in plain)
        with self._engine.begin() as connection:
            connection.execute(text(f"INSERT INTO {table} ({columns}) VALUES ({binds})"), plain)

    def execute(self, statement: str, **values: Any) -> None:
        """Run a statement."""
        with self._engine.begin() as connection:
            connection.execute(text(statement), values)

    def rows(self, query: str, **values: Any) -> list[dict[str, Any]]:
        """Rows of a query; JSON text is decoded."""
        with self._engine.begin() as connection:
            found = connection.execute(text(query), values).mappings().all()
        return [{name: _decoded(value) for name, value in row.items()} for row in found]

    def row(self, query: str, **values: Any) -> dict[str, Any]:
        """The one row of a query."""
        (found,) = self.rows(query, **values)
        return found

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()


def _decoded(value: Any) -> Any:
    if isinstance(value, str) and value[:1] in {"{", "["}:
        return json.loads(value)
    return value
