"""Snowflake for tests: the emulator fakesnow, with a fresh database for each test that asks."""

from __future__ import annotations

import json
import secrets
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from reporthub_dagster_tests.servers.database import Database
from reporthub_dagster_tests.servers.mariadb import PASSWORD, USER
from reporthub_dagster_tests.servers.process import free_port, script_python
from reporthub_dagster_tests.servers.stand_in import StandIn, body_of


@dataclass
class SnowflakeServer(StandIn):
    """A running emulator that a test may kill."""

    home: Path
    key: rsa.RSAPrivateKey = field(repr=False)
    """Signs in, beside the password."""
    port: int = field(default_factory=free_port)

    def url(self, database: str, /) -> str:
        """The URL of a database."""
        login = f"{USER}:{quote(PASSWORD, safe='')}"
        return f"snowflake://{login}@shop/{database}/public?host=127.0.0.1&port={self.port}&protocol=http"

    def execute(self, *statements: str, database: str = "") -> list[tuple[Any, ...]]:
        """Run statements in a database; returns the rows of the last one."""
        within = [f"USE SCHEMA {database}.public"] if database else []
        return [tuple(row) for row in self._ask("POST", "/_execute", [*within, *statements])]

    def statements(self) -> list[str]:
        """What runs at this moment."""
        return [str(sql) for sql in self._ask("GET", "/_statements", [])]

    def _launch(self) -> subprocess.Popen[bytes]:
        public = self.home / "public.pem"
        public.write_bytes(
            self.key.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )
        script = Path(__file__).with_name("snowflake_emulator.py")
        # Without the script's folder on its path: this module has the name of a package that it imports.
        python = [str(script_python(script)), "-P", str(script)]
        given = [*python, str(self.port), USER, PASSWORD, str(public)]
        with (self.home / "log").open("wb") as log:
            return subprocess.Popen(given, stdout=log, stderr=log)

    def _ask(self, method: str, path: str, body: list[str]) -> list[Any]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        found: list[Any] = json.loads(body_of(connection, method, path, json.dumps(body).encode()))
        return found


SnowflakeDatabase = Database[SnowflakeServer]
"""A fresh database of it."""


@pytest.fixture(scope="session")
def snowflake_server() -> Iterator[SnowflakeServer]:
    """The emulator, as long as the test session lives."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    with (
        tempfile.TemporaryDirectory(prefix="reporthub-snowflake-") as home,
        SnowflakeServer(Path(home), key) as server,
    ):
        yield server


@pytest.fixture
def snowflake_database(snowflake_server: SnowflakeServer) -> SnowflakeDatabase:
    """A database of its own for one test; it goes with the emulator."""
    snowflake_server.start()
    name = f"test_{secrets.token_hex(6)}"
    snowflake_server.execute(f"CREATE DATABASE {name}", f"CREATE SCHEMA IF NOT EXISTS {name}.public")
    return SnowflakeDatabase(snowflake_server, name)
