"""Snowflake for tests: the emulator fakesnow, with a fresh database for each test that asks."""

from __future__ import annotations

import http.client
import json
import secrets
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from reporthub_dagster_tests.servers.database import Database
from reporthub_dagster_tests.servers.mariadb import PASSWORD, USER
from reporthub_dagster_tests.servers.process import free_port, script_python, wait_until


@dataclass
class SnowflakeServer:
    """A running emulator that a test may kill."""

    home: Path
    key: rsa.RSAPrivateKey = field(repr=False)
    """Signs in, beside the password."""
    port: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def runs(self) -> bool:
        """False after `kill`."""
        return self._process is not None

    def start(self) -> None:
        """Start it unless it runs; returns when it answers."""
        if self._process is not None:
            return
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
            self._process = subprocess.Popen(given, stdout=log, stderr=log)
        wait_until(lambda: self.execute("SELECT 1") == [(1,)], "fakesnow", seconds=60)

    def kill(self) -> None:
        """End it as a power cut would, with all it holds."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

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

    def _ask(self, method: str, path: str, body: list[str]) -> list[Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request(method, path, json.dumps(body).encode())
        response = connection.getresponse()
        answer = response.read()
        connection.close()
        assert response.status == 200, answer
        found: list[Any] = json.loads(answer)
        return found


SnowflakeDatabase = Database[SnowflakeServer]
"""A fresh database of it."""


@pytest.fixture(scope="session")
def snowflake_server() -> Iterator[SnowflakeServer]:
    """The emulator, as long as the test session lives."""
    with tempfile.TemporaryDirectory(prefix="reporthub-snowflake-") as home:
        server = SnowflakeServer(Path(home), rsa.generate_private_key(public_exponent=65537, key_size=2048))
        try:
            yield server
        finally:
            server.kill()


@pytest.fixture
def snowflake_database(snowflake_server: SnowflakeServer) -> SnowflakeDatabase:
    """A database of its own for one test; it goes with the emulator."""
    snowflake_server.start()
    name = f"test_{secrets.token_hex(6)}"
    snowflake_server.execute(f"CREATE DATABASE {name}", f"CREATE SCHEMA IF NOT EXISTS {name}.public")
    return SnowflakeDatabase(snowflake_server, name)
