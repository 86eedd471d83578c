"""ClickHouse for tests: its engine in a process of its own, with a fresh database for each test that asks."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from reporthub_dagster_tests.servers.database import Database
from reporthub_dagster_tests.servers.mariadb import PASSWORD, USER
from reporthub_dagster_tests.servers.process import free_port, package
from reporthub_dagster_tests.servers.stand_in import StandIn, body_of


@dataclass
class ClickHouseServer(StandIn):
    """A running engine that a test may kill."""

    port: int = field(default_factory=free_port)

    def url(self, database: str) -> str:
        """The URL of a database."""
        return f"clickhouse://{USER}:{quote(PASSWORD, safe='')}@127.0.0.1:{self.port}/{database}"

    def execute(self, *statements: str, database: str = "default") -> list[tuple[Any, ...]]:
        """Run statements; returns the rows of the last one."""
        answer = b""
        for statement in statements:
            connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
            path = "/?" + urlencode({"database": database, "default_format": "JSONCompactEachRow"})
            headers = {"X-ClickHouse-User": USER, "X-ClickHouse-Key": PASSWORD}
            answer = body_of(connection, "POST", path, statement.encode(), headers)
        return [tuple(json.loads(line)) for line in answer.splitlines()]

    def statements(self) -> list[str]:
        """What runs at this moment."""
        return [row[0] for row in self.execute("SELECT query FROM system.processes")]

    def _launch(self) -> subprocess.Popen[bytes]:
        module = "reporthub_dagster_tests.servers.chdb_http"
        return subprocess.Popen([sys.executable, "-m", module, str(self.port), USER, PASSWORD])


ClickHouseDatabase = Database[ClickHouseServer]
"""A fresh database of it."""


@pytest.fixture(scope="session")
def clickhouse_server() -> Iterator[ClickHouseServer]:
    """The engine, as long as the test session lives."""
    package("chdb")
    with ClickHouseServer() as server:
        yield server


@pytest.fixture
def clickhouse_database(clickhouse_server: ClickHouseServer) -> Iterator[ClickHouseDatabase]:
    """A database of its own for one test."""
    clickhouse_server.start()
    name = f"test_{secrets.token_hex(6)}"
    clickhouse_server.execute(f"CREATE DATABASE {name}")
    yield ClickHouseDatabase(clickhouse_server, name)
    if clickhouse_server.runs:
        clickhouse_server.execute(f"DROP DATABASE {name}")
