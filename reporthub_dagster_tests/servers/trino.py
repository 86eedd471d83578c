"""Trino for tests: a stand-in of its client protocol, with a fresh schema for each test that asks."""

from __future__ import annotations

import json
import secrets
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import trustme

from reporthub_dagster_tests.servers.database import Database
from reporthub_dagster_tests.servers.mariadb import PASSWORD, USER
from reporthub_dagster_tests.servers.process import free_port
from reporthub_dagster_tests.servers.stand_in import StandIn, body_of


@dataclass
class TrinoServer(StandIn):
    """A running stand-in that a test may kill."""

    home: Path
    port: int = field(default_factory=free_port)

    @property
    def authority(self) -> Path:
        """PEM file of who signed its certificate."""
        return self.home / "ca.pem"

    def url(self, schema: str, user: str = USER) -> str:
        """The URL of a schema."""
        login = f"{user}:{quote(PASSWORD, safe='')}"
        return f"trino://{login}@127.0.0.1:{self.port}/memory/{schema}?ssl_ca={self.authority}"

    def execute(self, *statements: str, database: str = "") -> list[tuple[Any, ...]]:
        """Run statements in the engine behind it, in a schema; returns the rows of the last one."""
        within = f"USE memory.{database}; " if database else ""
        rows = [self._ask("POST", "/execute", f"{within}{statement}") for statement in statements][-1]
        return [tuple(row) for row in rows]

    def statements(self) -> list[str]:
        """What runs at this moment."""
        return [row["query"] for row in self._ask("GET", "/v1/query")]

    def _launch(self) -> subprocess.Popen[bytes]:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.authority)
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(self.home / "own.pem")
        module = "reporthub_dagster_tests.servers.trino_http"
        given = [str(self.port), USER, PASSWORD, str(self.home / "own.pem")]
        return subprocess.Popen([sys.executable, "-m", module, *given])

    def _ask(self, method: str, path: str, body: str = "") -> list[Any]:
        context = ssl.create_default_context(cafile=self.authority)
        connection = HTTPSConnection("127.0.0.1", self.port, timeout=20, context=context)
        found: list[Any] = json.loads(body_of(connection, method, path, body.encode()))
        return found


TrinoSchema = Database[TrinoServer]
"""A fresh schema of it."""


@pytest.fixture(scope="session")
def trino_server() -> Iterator[TrinoServer]:
    """The stand-in, as long as the test session lives."""
    with (
        tempfile.TemporaryDirectory(prefix="reporthub-trino-") as home,
        TrinoServer(Path(home)) as server,
    ):
        yield server


@pytest.fixture
def trino_schema(trino_server: TrinoServer) -> Iterator[TrinoSchema]:
    """A schema of its own for one test."""
    trino_server.start()
    name = f"test_{secrets.token_hex(6)}"
    trino_server.execute(f"CREATE SCHEMA memory.{name}")
    yield TrinoSchema(trino_server, name)
    if trino_server.runs:
        trino_server.execute(f"DROP SCHEMA memory.{name} CASCADE")
