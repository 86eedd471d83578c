"""A result of 2 GB from each kind of data source, read into a spool by a process that may have 300 MB.

`python -m benchmarks.memory [KIND …]` starts the engines that tests use, has each kind read a million rows of
2,000 bytes in a process of its own, and prints that process's peak memory. It ends with 1 when one is above
the limit. Oracle is not measured: its driver has no server here.
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from benchmarks import source_servers as servers
from benchmarks.measure import measured, report
from reporthub_dagster.network.egress import EgressPolicy
from reporthub_dagster_tests.servers.mariadb import MariaDBServer
from reporthub_dagster_tests.servers.postgresql import PostgreSQLServer
from reporthub_dagster_tests.servers.process import private
from reporthub_dagster_tests.servers.web import WebServer

MODULE = "benchmarks.memory"
LIMIT_MB = 300.0
ROWS = 1_000_000
PAD = "x" * 2_000
_PAD_SQL = "repeat('x', 2000)"
_AT_ONCE = 500


def read(kind: str, url: str, query: str, target: str) -> None:
    """A query into a spool."""
    from reporthub_dagster.connectors.base import QueryLimits  # noqa: PLC0415 - in the measured process alone
    from reporthub_dagster.connectors.registry import CONNECTORS  # noqa: PLC0415
    from reporthub_dagster.connectors.source_settings import SourceSettings  # noqa: PLC0415
    from reporthub_dagster.reporting.bound_query import BoundQuery  # noqa: PLC0415
    from reporthub_dagster.reporting.records import DataSource  # noqa: PLC0415

    settings = SourceSettings(
        egress=EgressPolicy.parse("default", "127.0.0.1"),
        file_roots=(Path(target).parent,),
        fetch_bytes=10_000_000_000,
        memory_mb=100,
    )
    options = {"rows": "data.items"} if kind == "http_api" or url.endswith(".json") else {}
    connector = CONNECTORS.get(kind)(DataSource(1, "bench", kind, url, options), settings)
    result = connector.spool(BoundQuery.of([query]), Path(target), QueryLimits(3600, 10 * ROWS))
    print(
        f"{result.row_count:,} rows, {Path(target).stat().st_size / 1e6:,.0f} MB in the spool",
        file=sys.stderr,
    )


def write(path: str) -> None:
    """A file of 2 GB, in the format that its name says."""
    import duckdb  # noqa: PLC0415

    if path.endswith(".json"):
        with Path(path).open("wb") as file:
            file.writelines(_rows())
    elif path.endswith(".duckdb"):
        duckdb.connect(path).close()
    else:
        duckdb.execute(f"COPY (SELECT range AS n, {_PAD_SQL} AS pad FROM range({ROWS})) TO '{path}'")


def _rows() -> Iterator[bytes]:
    """A document of 2 GB, in pieces."""
    yield b'{"count": 1, "data": {"items": ['
    for first in range(0, ROWS, _AT_ONCE):
        items = (f'{{"n": {number}, "pad": "{PAD}"}}' for number in range(first, first + _AT_ONCE))
        yield (", " if first else "").encode() + ", ".join(items).encode()
    yield b"]}}"


class _Api(WebServer):
    """Answers with the document."""

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.close_connection = True
        for piece in _rows():
            handler.wfile.write(piece)


@contextmanager
def _server(make: Callable[..., MariaDBServer | PostgreSQLServer], name: str, database: str) -> Iterator[str]:
    with private(name, make) as server:
        yield server.url(database)


@contextmanager
def _sqlite(folder: Path) -> Iterator[str]:
    with closing(sqlite3.connect(folder / "x.db")) as connection:
        connection.execute("CREATE TABLE t (id int)")
    yield f"sqlite:///{folder / 'x.db'}"


@contextmanager
def _duckdb(folder: Path) -> Iterator[str]:
    with _written("x.duckdb", folder) as path:
        yield f"duckdb:///{path}"


@contextmanager
def _written(name: str, folder: Path) -> Iterator[str]:
    measured(MODULE, "write", str(folder / name))  # what this process uses, its children would seem to use
    yield str(folder / name)


@contextmanager
def _http_api() -> Iterator[str]:
    with _Api().running() as server:
        yield server.url


def main(wanted: list[str]) -> int:
    """Measure and print; returns 1 when a process took too much."""
    above = False
    with tempfile.TemporaryDirectory(prefix="reporthub-bench-") as name:
        folder = Path(name)
        numbers = f"WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT {ROWS}) "
        works: dict[str, tuple[str, Callable[[], AbstractContextManager[str]], str]] = {
            "mysql": (
                "mysql",
                partial(_server, MariaDBServer, "mariadb", "mysql"),
                f"SELECT seq AS n, {_PAD_SQL} AS pad FROM seq_1_to_{ROWS}",
            ),
            "postgresql": (
                "postgresql",
                partial(_server, PostgreSQLServer, "postgresql", "postgres"),
                f"SELECT generate_series(1, {ROWS}) AS n, {_PAD_SQL} AS pad",
            ),
            "sqlite": ("sqlite", partial(_sqlite, folder), f"{numbers} SELECT n, '{PAD}' AS pad FROM c"),
            "duckdb": (
                "duckdb",
                partial(_duckdb, folder),
                f"SELECT range AS n, {_PAD_SQL} AS pad FROM range({ROWS})",
            ),
            "clickhouse": (
                "clickhouse",
                servers.clickhouse,
                f"SELECT number AS n, {_PAD_SQL} AS pad FROM numbers({ROWS})",
            ),
            "mongodb": (
                "mongodb",
                servers.mongodb,
                f'{{"collection": "wide", "filter": {{"n": {{"$lte": {ROWS}}}}}}}',
            ),
            "sqlserver": (
                "sqlserver",
                servers.sqlserver,
                f"SELECT range AS n, {_PAD_SQL} AS pad FROM range({ROWS})",
            ),
            "trino": ("trino", servers.trino, f"SELECT range AS n, '{PAD}' AS pad FROM range({ROWS})"),
            "bigquery": (
                "bigquery",
                servers.bigquery,
                f"SELECT n, REPEAT('x', 2000) AS pad FROM UNNEST(GENERATE_ARRAY(1, {ROWS})) AS n",
            ),
            "snowflake": (
                "snowflake",
                servers.snowflake,
                f"SELECT range AS n, REPEAT('x', 2000) AS pad FROM range(1, {ROWS} + 1)",
            ),
            "http_api": ("http_api", _http_api, "SELECT * FROM data"),
            **{
                f"file, {form}": ("file", partial(_written, f"x.{form}", folder), "SELECT * FROM data")
                for form in ("csv", "json", "parquet")
            },
        }
        print(f"{'2 GB of':20}{'peak MB':>8}{'CPU s':>8}")
        for label, (kind, source, query) in works.items():
            if wanted and kind not in wanted:
                continue
            with ExitStack() as running:
                url = running.enter_context(source())
                usage = measured(MODULE, "read", kind, url, query, str(folder / "result.arrow"))
            above = above or usage.rss > LIMIT_MB
            verdict = "holds" if usage.rss <= LIMIT_MB else f"ABOVE {LIMIT_MB:g}"
            print(f"{label:20}{usage.rss:8.0f}{usage.cpu:8.1f}  {verdict}", flush=True)
            for left in folder.iterdir():
                left.unlink()
    return int(above)


if __name__ == "__main__":
    works: dict[str, Callable[..., None]] = {"read": read, "write": write}
    if sys.argv[1:2] and sys.argv[1] in works:
        report(lambda: works[sys.argv[1]](*sys.argv[2:]))
    else:
        sys.exit(main(sys.argv[1:]))
