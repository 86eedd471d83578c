"""A private MariaDB: one server for the whole test session, a fresh database for each test that asks."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pymysql
import pytest
import trustme

from reporthub_dagster_tests.servers.database import Database
from reporthub_dagster_tests.servers.process import PrivateServer, binary, private, started, stop

USER = "reporthub"
PASSWORD = "p@ss:w/rd %1"
"""With every character that a URL must quote."""


@dataclass
class MariaDBServer(PrivateServer):
    """A running server that a test may stop, kill and start again; data and port stay the same.

    Attributes:
        home: Folder of its data, its log and its certificates (`ca.pem`).
        user: An account that may do everything, over TCP.
    """

    home: Path
    port: int
    host: str = "127.0.0.1"
    user: str = USER
    password: str = PASSWORD
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def socket(self) -> Path:
        """Its Unix socket."""
        return self.home / "mariadb.sock"

    def url(self, database: str = "", *, scheme: str = "mysql+pymysql", password: str | None = None) -> str:
        """A SQLAlchemy URL of a database of this server."""
        secret = quote(self.password if password is None else password, safe="")
        return f"{scheme}://{self.user}:{secret}@{self.host}:{self.port}/{database}?charset=utf8mb4"

    def start(self) -> None:
        """Start it unless it runs; returns when it answers."""
        if self._process is not None and self._process.poll() is None:
            return
        self._process = started(self._command(), self.home / "mariadb.log", self._answers, "mariadb")

    def stop(self) -> None:
        """End it in order; idempotent."""
        if self._process is not None:
            stop(self._process)
            self._process = None

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def execute(self, *statements: str, database: str | None = None) -> list[tuple[Any, ...]]:
        """Run statements as the account that may do everything; returns the rows of the last one."""
        with (
            pymysql.connect(
                host=self.host,
                port=self.port,
                user=self.user,
                password=self.password,
                database=database,
                autocommit=True,
            ) as connection,
            connection.cursor() as cursor,
        ):
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall())

    def statements(self) -> list[str]:
        """What every other connection runs at this moment."""
        rows = self.execute(
            "SELECT info FROM information_schema.processlist "
            "WHERE info IS NOT NULL AND command <> 'Daemon' AND id <> CONNECTION_ID()"
        )
        return [str(row[0]) for row in rows]

    def create(self) -> None:
        """Make the data folder, the certificates and the account, then start."""
        self._temporary.mkdir()
        subprocess.run(self._installation(), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        write_certificates(self.home)
        self.start()
        with (
            pymysql.connect(host=self.host, port=self.port, user="root", autocommit=True) as connection,
            connection.cursor() as cursor,
        ):
            for host in ("localhost", "127.0.0.1"):
                account = (self.user, host, self.password)
                cursor.execute("CREATE USER %s@%s IDENTIFIED BY %s", account)
                cursor.execute("GRANT ALL PRIVILEGES ON *.* TO %s@%s WITH GRANT OPTION", account[:2])

    @property
    def _temporary(self) -> Path:
        return self.home / "tmp"

    def _installation(self) -> list[str]:
        """The command that makes the data folder, with an account `root` that needs no password."""
        install = binary("mariadb-install-db", "mysql_install_db")
        without = ["--auth-root-authentication-method=normal", "--skip-test-db"]
        return [install, "--no-defaults", *self._place(), *without]

    def _command(self) -> list[str]:
        return [
            binary("mariadbd", "mysqld"),
            "--no-defaults",
            *self._place(),
            *self._settings(),
            "--innodb-log-file-size=32M",
        ]

    def _place(self) -> list[str]:
        # A server that starts removes the temporary tables of others from the folder that is everybody's.
        folders = [f"--datadir={self.home / 'data'}", f"--tmpdir={self._temporary}"]
        return ["--user=root", *folders] if os.geteuid() == 0 else folders

    def _settings(self) -> list[str]:
        """What both MariaDB and MySQL understand."""
        return [
            f"--socket={self.socket}",
            f"--pid-file={self.home / 'mariadb.pid'}",
            f"--port={self.port}",
            f"--bind-address={self.host}",
            "--character-set-server=utf8mb4",
            f"--ssl-ca={self.home / 'ca.pem'}",
            f"--ssl-cert={self.home / 'server.pem'}",
            f"--ssl-key={self.home / 'server.key'}",
            "--innodb-flush-log-at-trx-commit=0",
            "--innodb-buffer-pool-size=64M",
            "--max-allowed-packet=64M",
        ]

    def _answers(self) -> bool:
        pymysql.connect(host=self.host, port=self.port, user="root", connect_timeout=5).close()
        return True


MariaDBDatabase = Database[MariaDBServer]
"""A fresh database of it."""


def write_certificates(folder: Path) -> None:
    """A certificate authority and a certificate for 127.0.0.1: `ca.pem`, `server.pem`, `server.key`."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1", "localhost")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    issued.cert_chain_pems[0].write_to_path(folder / "server.pem")
    issued.private_key_pem.write_to_path(folder / "server.key")
    (folder / "server.key").chmod(0o600)


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[MariaDBServer]:
    """A MariaDB server on a loopback port, with TLS, that lives as long as the test session."""
    binary("mariadbd", "mysqld")
    with private("mariadb", MariaDBServer) as server:
        yield server


@pytest.fixture
def mariadb_database(mariadb_server: MariaDBServer) -> Iterator[MariaDBDatabase]:
    """A database of its own for one test; whatever the test did to the server, it is dropped afterwards."""
    yield from fresh_database(mariadb_server)


def fresh_database(server: MariaDBServer) -> Iterator[MariaDBDatabase]:
    """A database of the server for one test."""
    server.start()
    name = f"test_{secrets.token_hex(6)}"
    server.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
    yield MariaDBDatabase(server, name)
    server.start()
    server.execute(f"DROP DATABASE {name}")
