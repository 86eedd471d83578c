"""ClickHouse for tests: its engine in a process of its own, with a fresh database for each test that asks."""

from __future__ import annotations

import http.client
import json
import secrets
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from reporthub_dagster_tests.servers.database import Database
from reporthub_dagster_tests.servers.mariadb import PASSWORD, USER
from reporthub_dagster_tests.servers.process import free_port, package, wait_until


@dataclass
class ClickHouseServer:
    """A running engine that a test may kill."""

    port: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def runs(self) -> bool:
        """False after `kill`."""
        return self._process is not None

    def start(self) -> None:
        """Start it unless it runs; returns when it answers."""
        if self._process is None:
            module = "reporthub_dagster_tests.servers.chdb_http"
            self._process = subprocess.Popen([sys.executable, "-m", module, str(self.port), USER, PASSWORD])
            wait_until(lambda: self.execute("SELECT 1") == [(1,)], "chdb", seconds=60)

    def kill(self) -> None:
        """End it as a power cut would, with all it holds."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def url(self, database: str) -> str:
        """The URL of a database."""
        return f"clickhouse://{USER}:{quote(PASSWORD, safe='')}@127.0.0.1:{self.port}/{database}"

    def execute(self, *statements: str, database: str = "default") -> list[tuple[Any, ...]]:
        """Run statements; returns the rows of the last one."""
        answer = b""
        for statement in statements:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
            path = "/?" + urlencode({"database": database, "default_format": "JSONCompactEachRow"})
            headers = {"X-ClickHouse-User": USER, "X-ClickHouse-Key": PASSWORD}
            connection.request("POST", path, statement.encode(), headers)
            response = connection.getresponse()
            answer = response.read()
            connection.close()
            assert response.status == 200, answer
        return [tuple(json.loads(line)) for line in answer.splitlines()]

    def statements(self) -> list[str]:
        """What runs at this moment."""
        return [row[0] for row in self.execute("SELECT query FROM system.processes")]


ClickHouseDatabase = Database[ClickHouseServer]
"""A fresh database of it."""


@pytest.fixture(scope="session")
def clickhouse_server() -> Iterator[ClickHouseServer]:
    """The engine, as long as the test session lives."""
    package("chdb")
    server = ClickHouseServer()
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture
def clickhouse_database(clickhouse_server: ClickHouseServer) -> Iterator[ClickHouseDatabase]:
    """A database of its own for one test."""
    clickhouse_server.start()
    name = f"test_{secrets.token_hex(6)}"
    clickhouse_server.execute(f"CREATE DATABASE {name}")
    yield ClickHouseDatabase(clickhouse_server, name)
    if clickhouse_server.runs:
        clickhouse_server.execute(f"DROP DATABASE {name}")
