"""The engines of `benchmarks.sources` and `benchmarks.memory`: real, emulators, or stand-ins of the tests."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa

from reporthub_dagster_tests.servers.bigquery import PROJECT, BigQueryEmulator, BigQueryFront, ask
from reporthub_dagster_tests.servers.clickhouse import ClickHouseServer
from reporthub_dagster_tests.servers.mongodb import MongoDBFront, MongoDBServer
from reporthub_dagster_tests.servers.postgresql import PostgreSQLServer
from reporthub_dagster_tests.servers.process import private
from reporthub_dagster_tests.servers.snowflake import SnowflakeServer
from reporthub_dagster_tests.servers.sqlserver import SQLServerStandIn
from reporthub_dagster_tests.servers.trino import TrinoServer


@contextmanager
def postgresql() -> Iterator[str]:
    """The URL of a database of a private server."""
    with private("postgresql", PostgreSQLServer) as server:
        yield server.url()


@contextmanager
def clickhouse() -> Iterator[str]:
    """The URL of ClickHouse's engine."""
    server = ClickHouseServer()
    server.start()
    try:
        yield server.url("default")
    finally:
        server.kill()


@contextmanager
def mongodb() -> Iterator[str]:
    """The URL of a database of the emulator, behind the front that streams."""
    with private("mongodb", MongoDBServer) as server:
        front = MongoDBFront(server, "bench")
        front.start()
        yield front.url()
        front.kill()


@contextmanager
def sqlserver() -> Iterator[str]:
    """The URL of a database of the stand-in."""
    server = SQLServerStandIn()
    server.start()
    try:
        yield server.url("memory")
    finally:
        server.kill()


@contextmanager
def trino() -> Iterator[str]:
    """The URL of a schema of the stand-in."""
    with tempfile.TemporaryDirectory(prefix="reporthub-trino-") as home:
        server = TrinoServer(Path(home))
        try:
            server.start()
            yield server.url("main")
        finally:
            server.kill()


@contextmanager
def bigquery() -> Iterator[str]:
    """The URL of a dataset of the emulator, behind the front that streams."""
    with private("bigquery", BigQueryEmulator) as emulator:
        front = BigQueryFront(emulator)
        place = {"datasetReference": {"projectId": PROJECT, "datasetId": front.dataset}}
        ask(emulator.port, "POST", f"/bigquery/v2/projects/{PROJECT}/datasets", place)
        threading.Thread(target=front.serve_forever, daemon=True).start()
        yield front.url
        front.kill()


@contextmanager
def snowflake() -> Iterator[str]:
    """The URL of a database of the emulator."""
    with tempfile.TemporaryDirectory(prefix="reporthub-snowflake-") as home:
        server = SnowflakeServer(Path(home), rsa.generate_private_key(public_exponent=65537, key_size=2048))
        try:
            server.start()
            server.execute("CREATE DATABASE bench", "CREATE SCHEMA IF NOT EXISTS bench.public")
            yield server.url("bench")
        finally:
            server.kill()
