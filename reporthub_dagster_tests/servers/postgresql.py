"""A private PostgreSQL: one server for the whole test session, a fresh database for each test that asks."""

from __future__ import annotations

import os
import pwd
import secrets
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import psutil
import psycopg
import pytest

from reporthub_dagster_tests.servers.database import Database
from reporthub_dagster_tests.servers.mariadb import PASSWORD, USER, write_certificates
from reporthub_dagster_tests.servers.process import PrivateServer, binary, private, started


@dataclass
class PostgreSQLServer(PrivateServer):
    """A running server that a test may stop, kill and start again; data and port stay the same.

    Attributes:
        home: Folder of its data, its log and its certificates (`ca.pem`); belongs to an unprivileged user.
        user: A superuser, over TCP, with a password.
    """

    home: Path
    port: int
    host: str = "127.0.0.1"
    user: str = USER
    password: str = PASSWORD
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def socket(self) -> Path:
        """The folder of its Unix socket."""
        return self.home

    def url(
        self, database: str = "postgres", *, scheme: str = "postgresql+psycopg", password: str | None = None
    ) -> str:
        """A SQLAlchemy URL of a database of this server."""
        secret = quote(self.password if password is None else password, safe="")
        return f"{scheme}://{self.user}:{secret}@{self.host}:{self.port}/{database}"

    def start(self) -> None:
        """Start it unless it runs; returns when it answers."""
        if self._process is not None and self._process.poll() is None:
            return
        log = self.home / "postgresql.log"
        self._process = started(
            self._command(), log, self._answers, "postgresql", cwd=self.home, **_unprivileged()
        )

    def stop(self) -> None:
        """End it in order, closing its connections; idempotent."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()
            self._process = None

    def kill(self) -> None:
        """End it and all its backends as a power cut would."""
        if self._process is not None:
            backends = psutil.Process(self._process.pid).children(recursive=True)
            self._process.kill()
            for backend in backends:
                if backend.is_running():
                    backend.kill()
            self._process.wait()
            psutil.wait_procs(backends, timeout=10)
            self._process = None

    def execute(self, *statements: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run statements as the superuser; returns the rows of the last one."""
        with self._connect(database) as connection:
            for statement in statements:
                cursor = connection.execute(cast("Any", statement))
            return cursor.fetchall() if cursor.description else []

    def statements(self) -> list[str]:
        """What every other connection runs at this moment."""
        rows = self.execute(
            "SELECT query FROM pg_stat_activity "
            "WHERE state <> 'idle' AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        return [str(row[0]) for row in rows]

    def create(self) -> None:
        """Make the data folder, the certificates and the superuser, then start."""
        write_certificates(self.home)
        password_file = self.home / "password"
        password_file.write_text(self.password)
        _give_away(self.home)
        subprocess.run(
            [
                _postgres_binary("initdb"),
                f"--pgdata={self.home / 'data'}",
                f"--username={self.user}",
                f"--pwfile={password_file}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self.home,
            **_unprivileged(),
        )
        self.start()

    def _connect(self, database: str) -> psycopg.Connection[tuple[Any, ...]]:
        return psycopg.connect(
            host=self.host,
            port=self.port,
            user=self.user,
            password=self.password,
            dbname=database,
            autocommit=True,
            connect_timeout=5,
        )

    def _command(self) -> list[str]:
        settings = {
            "listen_addresses": self.host,
            "port": self.port,
            "unix_socket_directories": self.home,
            "ssl": "on",
            "ssl_ca_file": self.home / "ca.pem",
            "ssl_cert_file": self.home / "server.pem",
            "ssl_key_file": self.home / "server.key",
            "fsync": "off",
            "full_page_writes": "off",
            "synchronous_commit": "off",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [_postgres_binary("postgres"), "-D", str(self.home / "data"), *options]

    def _answers(self) -> bool:
        self._connect("postgres").close()
        return True


PostgreSQLDatabase = Database[PostgreSQLServer]
"""A fresh database of it."""


def _postgres_binary(name: str) -> str:
    """A binary of the newest PostgreSQL: Debian keeps them out of the path."""
    versions = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=_version, reverse=True)
    return binary(name, *map(str, versions))


def _version(path: Path) -> int:
    version = path.parts[-3]
    return int(version) if version.isdigit() else 0


def _unprivileged_user() -> pwd.struct_passwd | None:
    """Whom the server runs as: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    return known.get("postgres") or known["nobody"]


def _unprivileged() -> dict[str, Any]:
    entry = _unprivileged_user()
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []} if entry else {}


def _give_away(folder: Path) -> None:
    entry = _unprivileged_user()
    if entry:
        for path in (folder, *folder.iterdir()):
            os.chown(path, entry.pw_uid, entry.pw_gid)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgreSQLServer]:
    """A PostgreSQL server on a loopback port, with TLS, that lives as long as the test session."""
    _postgres_binary("postgres")
    with private("postgresql", PostgreSQLServer) as server:
        yield server


@pytest.fixture
def postgresql_database(postgresql_server: PostgreSQLServer) -> Iterator[PostgreSQLDatabase]:
    """A database of its own for one test; whatever the test did to the server, it is dropped afterwards."""
    postgresql_server.start()
    name = f"test_{secrets.token_hex(6)}"
    postgresql_server.execute(f"CREATE DATABASE {name}")
    yield PostgreSQLDatabase(postgresql_server, name)
    postgresql_server.start()
    postgresql_server.execute(f"DROP DATABASE {name} WITH (FORCE)")
