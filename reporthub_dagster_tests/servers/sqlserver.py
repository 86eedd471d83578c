"""SQL Server for tests: a stand-in that speaks its protocol, with a fresh database for each test."""

from __future__ import annotations

import secrets
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import pytest

from reporthub_dagster_tests.servers.database import Database
from reporthub_dagster_tests.servers.mariadb import PASSWORD, USER
from reporthub_dagster_tests.servers.process import free_port
from reporthub_dagster_tests.servers.stand_in import StandIn
from reporthub_dagster_tests.servers.tds_server import READER, ask
from reporthub_dagster_tests.servers.tds_wire import Login

__all__ = ["READER", "SQLServerDatabase", "SQLServerStandIn"]


@dataclass
class SQLServerStandIn(StandIn):
    """A running stand-in that a test may kill."""

    port: int = field(default_factory=free_port)
    control: int = field(default_factory=free_port)

    def url(self, database: str, user: str = USER) -> str:
        """The URL of a database, for a user; the stand-in speaks no TLS."""
        login = f"{user}:{quote(PASSWORD, safe='')}"
        return f"mssql://{login}@127.0.0.1:{self.port}/{database}?Encrypt=no"

    def execute(self, *statements: str, database: str = "memory") -> list[tuple[Any, ...]]:
        """Run statements in a database; returns the rows of the last one."""
        return list(ask(self.control, "execute", [f'USE "{database}"', *statements]))

    def put(self, name: str, columns: Sequence[tuple[str, str]], rows: Sequence[tuple[Any, ...]]) -> None:
        """Let `SELECT * FROM name` give rows of SQL Server's own types."""
        ask(self.control, "name", (name, list(columns), list(rows)))

    def logins(self) -> list[Login]:
        """Who came, in order."""
        return list(ask(self.control, "logins"))

    def statements(self) -> list[str]:
        """What runs at this moment."""
        return list(ask(self.control, "running"))

    def _launch(self) -> subprocess.Popen[bytes]:
        module = "reporthub_dagster_tests.servers.tds_server"
        return subprocess.Popen(
            [sys.executable, "-m", module, str(self.port), str(self.control), USER, PASSWORD]
        )


SQLServerDatabase = Database[SQLServerStandIn]
"""A fresh database of it."""


@pytest.fixture(scope="session")
def sqlserver_stand_in() -> Iterator[SQLServerStandIn]:
    """The stand-in, as long as the test session lives."""
    with SQLServerStandIn() as server:
        yield server


@pytest.fixture
def sqlserver_database(sqlserver_stand_in: SQLServerStandIn) -> SQLServerDatabase:
    """A database of its own for one test."""
    sqlserver_stand_in.start()
    name = f"test_{secrets.token_hex(6)}"
    sqlserver_stand_in.execute(f"ATTACH ':memory:' AS {name}")
    return SQLServerDatabase(sqlserver_stand_in, name)
