"""A private MySQL: what `mariadb` has, of the other kind of server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from reporthub_dagster_tests.servers.mariadb import MariaDBDatabase, MariaDBServer, fresh_database
from reporthub_dagster_tests.servers.process import binary, private

INSTALLED = Path(__file__).parents[2] / ".tools" / "mysql" / "mysqld"
"""Where `.ci/mysql` puts it: `mysqld` on the path of a Debian machine is MariaDB's."""
THOUSAND = "WITH RECURSIVE k(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM k WHERE i < 999)"
"""Begins a query with a thousand rows to join with each other; MariaDB, too, understands it."""


class MySQLServer(MariaDBServer):
    """A running server of MySQL itself."""

    def _installation(self) -> list[str]:
        return [binary(str(INSTALLED)), *self._place(), "--initialize-insecure"]

    def _command(self) -> list[str]:
        return [
            binary(str(INSTALLED)),
            *self._place(),
            *self._settings(),
            "--mysqlx=OFF",
            "--disable-log-bin",
            "--performance-schema=OFF",
            "--secure-file-priv=NULL",
            "--innodb-redo-log-capacity=32M",
        ]


@pytest.fixture(scope="session")
def mysql_server() -> Iterator[MySQLServer]:
    """A MySQL server on a loopback port, with TLS, that lives as long as the test session."""
    binary(str(INSTALLED))
    with private("mysql", MySQLServer) as server:
        yield server


@pytest.fixture
def mysql_database(mysql_server: MySQLServer) -> Iterator[MariaDBDatabase]:
    """A database of its own for one test; whatever the test did to the server, it is dropped afterwards."""
    yield from fresh_database(mysql_server)


@pytest.fixture(params=["mysql", "mariadb"])
def mysql_or_mariadb(request: pytest.FixtureRequest) -> MariaDBDatabase:
    """A database of its own for one test, on a server of each."""
    database: MariaDBDatabase = request.getfixturevalue(f"{request.param}_database")
    return database
