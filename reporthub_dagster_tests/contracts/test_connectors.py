"""What every connector promises, held against a real database of every kind in the registry."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from bson import Decimal128

from reporthub_dagster.connectors.base import Connector, QueryLimits
from reporthub_dagster.connectors.registry import CONNECTORS
from reporthub_dagster.connectors.source_settings import SourceSettings
from reporthub_dagster.network.egress import EgressPolicy
from reporthub_dagster.reporting.bound_query import Bind, BoundQuery
from reporthub_dagster.reporting.errors import (
    ConfigurationError,
    PermanentError,
    ReportHubError,
    TransientError,
)
from reporthub_dagster.reporting.records import DataSource, QueryResult
from reporthub_dagster.storage.spool import Spool
from reporthub_dagster_tests.servers.bigquery import BigQueryFront
from reporthub_dagster_tests.servers.database import Database, DatabaseServer
from reporthub_dagster_tests.servers.mariadb import PASSWORD
from reporthub_dagster_tests.servers.mongodb import MongoDBFront
from reporthub_dagster_tests.servers.mysql import THOUSAND
from reporthub_dagster_tests.servers.process import wait_until
from reporthub_dagster_tests.servers.web import Answer, Request, WebServer

_PAD = "x" * 200
_DIGITS = "12345678901234567890123456789012345678"
_LOOPBACK = SourceSettings(egress=EgressPolicy.parse("default", "127.0.0.1"))


@dataclass(frozen=True, kw_only=True)
class Case:
    """How the contract is said in one database's SQL.

    Attributes:
        name: Of the database, where the kind has several; else the kind.
        rows: A query that streams the numbers 1 to `{count}` as `n`, and a wide text.
        slow: A query that computes for a minute before its first row.
        write: A query that would insert a row into `kept`.
        names: A query with awkward column names, and the names that a result gets.
        no_columns: A statement that succeeds without columns.
        product: What `check` begins with.
        server: True when there is a server to log in to, to ask and to kill.
        password: True when it is part of the URL.
        rights: False when what an account may write cannot be told.
        sql: False when queries are JSON documents.
        kept: A query for what `kept` holds.
        refusal: How writing is refused; empty where it is rolled back instead.
        integer: What a column of integers becomes.
        exact: A query whose first number is none of 64 bits, double or whole, and its digits.
        table: What `kept` and `binds` are called, for a source of one table.
    """

    kind: str
    name: str = ""
    rows: str
    slow: str
    write: str
    exact: tuple[str, str]
    names: tuple[str, list[str]] = ("", [])
    no_columns: str = ""
    product: str
    server: bool = True
    password: bool = True
    rights: bool = True
    sql: bool = True
    kept: str = "SELECT id FROM kept"
    integer: str = "int32"
    refusal: str = r"(?i)read.?only"
    table: str = ""
    create: tuple[str, ...] = (
        "CREATE TABLE kept (id int)",
        "INSERT INTO kept VALUES (1)",
        "CREATE TABLE binds (s varchar(100), i int, d decimal(12,3), dt date, ts timestamp, b boolean)",
    )


_ON_MYSQL = Case(
    kind="mysql",
    rows=f"{THOUSAND} SELECT /*+ NO_BNL() */ (a.i * 1000 + b.i) * 1000 + c.i + 1 AS n, "
    f"'{_PAD}' AS pad FROM k AS a STRAIGHT_JOIN k AS b STRAIGHT_JOIN k AS c LIMIT {{count}}",
    slow=f"{THOUSAND} SELECT SUM(a.i * b.i) AS x FROM k AS a, k AS b, k AS c, k AS d",
    write="INSERT INTO kept VALUES (2)",
    exact=(f"SELECT CAST('{_DIGITS}.5' AS DECIMAL(65, 1)) AS v", f"{_DIGITS}.5"),
    names=("SELECT 1 AS id, 2 AS id, 3 AS id_2, 4 AS ``", ["id", "id_3", "id_2", "column_4"]),
    no_columns="DO 1",
    product="MySQL 9",
)
CASES = {
    case.name or case.kind: case
    for case in (
        _ON_MYSQL,
        replace(
            _ON_MYSQL,
            name="mariadb",
            rows=f"SELECT seq AS n, '{_PAD}' AS pad FROM seq_1_to_{{count}}",
            product="MariaDB 1",
        ),
        Case(
            kind="postgresql",
            rows=f"SELECT generate_series(1, {{count}}) AS n, '{_PAD}' AS pad",
            slow="SELECT pg_sleep(60) AS x",
            write="WITH new AS (INSERT INTO kept VALUES (2) RETURNING id) SELECT id FROM new",
            exact=(f"SELECT {_DIGITS * 3}.5::numeric AS v", f"{_DIGITS * 3}.5"),
            names=("SELECT 1 AS id, 2 AS id, 3 AS id_2", ["id", "id_3", "id_2"]),
            no_columns="SELECT",
            product="PostgreSQL 1",
        ),
        Case(
            kind="sqlite",
            integer="int64",
            rows="WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT {count}) "
            f"SELECT n, '{_PAD}' AS pad FROM c",
            slow="WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT sum(n) AS x FROM c",
            write="INSERT INTO kept VALUES (2) RETURNING id",
            exact=(f"SELECT {2**53 + 1} AS v UNION ALL SELECT 0.5", str(2**53 + 1)),
            names=('SELECT 1 AS id, 2 AS id, 3 AS id_2, 4 AS ""', ["id", "id_3", "id_2", "column_4"]),
            no_columns="BEGIN",
            product="SQLite 3",
            server=False,
        ),
        Case(
            kind="duckdb",
            rows=f"SELECT range AS n, '{_PAD}' AS pad FROM range(1, {{count}} + 1)",
            slow="SELECT sum(a.range * b.range % 7) AS x FROM range(10000000) AS a, range(10000000) AS b",
            write="INSERT INTO kept VALUES (2) RETURNING id",
            exact=(f"SELECT {_DIGITS}::HUGEINT AS v", _DIGITS),
            names=("SELECT 1 AS id, 2 AS id, 3 AS id_2", ["id", "id_3", "id_2"]),
            no_columns="BEGIN",
            product="DuckDB 2",
            server=False,
        ),
        Case(
            kind="clickhouse",
            rows=f"SELECT number + 1 AS n, '{_PAD}' AS pad FROM numbers({{count}})",
            slow="SELECT sum(a.number * b.number) AS x FROM numbers(10000000) AS a, numbers(10000000) AS b",
            write="INSERT INTO kept VALUES (2)",
            refusal="Syntax error",
            exact=(f"SELECT toInt256('{_DIGITS}{_DIGITS[:30]}') AS v", f"{_DIGITS}{_DIGITS[:30]}"),
            names=("SELECT * FROM (SELECT 1 AS id) AS a, (SELECT 2 AS id) AS b", ["id", "b.id"]),
            product="ClickHouse 2",
            create=(
                "CREATE TABLE kept (id Int32) ENGINE = Memory",
                "INSERT INTO kept VALUES (1)",
                """CREATE TABLE binds (s String, i Int32, d Decimal(12, 3), dt Date, ts DateTime, b Bool)
                ENGINE = Memory""",
            ),
        ),
        Case(
            kind="trino",
            rows=f"SELECT range AS n, '{_PAD}' AS pad FROM range(1, {{count}} + 1)",
            slow="SELECT sum(a.range * b.range % 7) AS x FROM range(10000000) AS a, range(10000000) AS b",
            write="INSERT INTO kept VALUES (2)",
            exact=(f"SELECT CAST('{_DIGITS}' AS DECIMAL(38, 0)) AS v", _DIGITS),
            names=("SELECT 1 AS id, 2 AS id, 3 AS id_2", ["id", "id_3", "id_2"]),
            product="Trino 4",
        ),
        Case(
            kind="bigquery",
            integer="int64",
            rows="SELECT n, REPEAT('x', 200) AS pad FROM UNNEST(GENERATE_ARRAY(1, {count})) AS n ORDER BY n",
            slow="SELECT x FROM stalled",
            write="INSERT INTO kept VALUES (2)",
            exact=("SELECT NUMERIC '123456789012345.678' AS v", "123456789012345.678"),
            refusal="read-only",
            names=("SELECT 1 AS id, 2 AS id_2", ["id", "id_2"]),
            product="BigQuery",
            password=False,
            create=(
                "CREATE TABLE kept (id INT64)",
                "INSERT INTO kept VALUES (1)",
                "CREATE TABLE binds (s STRING, i INT64, d NUMERIC(12, 3), dt DATE, ts TIMESTAMP, b BOOL)",
            ),
        ),
        Case(
            kind="snowflake",
            integer="decimal128(38, 0)",
            rows="SELECT range AS n, REPEAT('x', 200) AS pad FROM range(1, {count} + 1)",
            slow="SELECT x FROM stalled",
            write="INSERT INTO kept VALUES (2)",
            exact=(f"SELECT CAST('{_DIGITS[:30]}.5' AS NUMBER(38, 1)) AS v", f"{_DIGITS[:30]}.5"),
            refusal="",
            names=("SELECT 1 AS id, 2 AS id_2", ["id", "id_2"]),
            product="Snowflake 1",
        ),
        Case(
            kind="mongodb",
            rows='{{"collection": "numbers", "filter": {{"n": {{"$lte": {count}}}}}}}',
            slow='{"collection": "stalled"}',
            write='{"collection": "kept", "pipeline": [{"$out": "kept"}]}',
            exact=('{"collection": "kept", "projection": {"_id": 0, "v": 1}}', _DIGITS[:34]),
            product="MongoDB 8",
            sql=False,
            kept="kept",
            create=(),
        ),
        Case(
            kind="sqlserver",
            rows=f"SELECT range AS n, '{_PAD}' AS pad FROM range(1, {{count}} + 1)",
            slow="SELECT sum(a.range * b.range % 7) AS x FROM range(10000000) AS a, range(10000000) AS b",
            write="INSERT INTO kept VALUES (2) RETURNING id",
            refusal="",
            names=("SELECT 1 AS id, 2 AS id, 3 AS id_2", ["id", "id_3", "id_2"]),
            no_columns="SET NOCOUNT ON",
            product="SQL Server 16.",
            exact=(f"SELECT CAST('{_DIGITS}' AS DECIMAL(38, 0)) AS v", _DIGITS),
        ),
        *(
            Case(
                kind=kind,
                integer="int64" if kind == "http_api" else "int32",
                rights=kind != "http_api",
                rows=f"SELECT range AS n, '{_PAD}' AS pad FROM range(1, {{count}} + 1)",
                slow="SELECT sum(a.range * b.range % 7) AS x FROM range(10000000) AS a, range(10000000) AS b",
                write="INSERT INTO data VALUES (2) RETURNING id",
                exact=(f"SELECT {_DIGITS}::HUGEINT AS v", _DIGITS),
                names=("SELECT 1 AS id, 2 AS id, 3 AS id_2", ["id", "id_3", "id_2"]),
                product=product,
                server=False,
                table="data",
            )
            for kind, product in (("file", "files"), ("http_api", "HTTP API"))
        ),
    )
}
SERVERS = [kind for kind, case in CASES.items() if case.server]
SQL = [kind for kind, case in CASES.items() if case.sql]
WITHOUT_SERVER = {"oracle"}
"""No server of these is to be had: `connectors/test_oracle.py` shows what can be shown without."""
LABELS = {
    "bigquery": "bigquery (emulator)",
    "clickhouse": "clickhouse (its engine)",
    "mongodb": "mongodb (emulator)",
    "snowflake": "snowflake (emulator)",
    "sqlserver": "sqlserver (stand-in)",
    "trino": "trino (stand-in)",
}
"""What a test's name says of a kind whose server is not the real one."""


@dataclass(frozen=True)
class Source:
    """A database of one kind for one test."""

    case: Case
    row: DataSource
    folder: Path
    execute: Callable[..., list[tuple[Any, ...]]]
    statements: Callable[[], list[str]] = list
    kill: Callable[[], None] = lambda: None
    settings: SourceSettings = field(default_factory=SourceSettings)
    marker: str = field(default_factory=lambda: f"/* {secrets.token_hex(8)} */")

    def connector(self, **changes: Any) -> Connector:
        row = replace(self.row, **changes)
        return CONNECTORS.get(row.kind)(row, self.settings)

    def spool(self, query: str | BoundQuery, **given: Any) -> QueryResult:
        progress = given.pop("on_progress", lambda _: None)
        limits = QueryLimits(**{"timeout_seconds": 120, "max_rows": 1_000_000, **given})
        if isinstance(query, str):
            query = BoundQuery.of([self.marked(query)])
        if self.case.table:
            query = BoundQuery.of(
                re.sub(r"\b(kept|binds)\b", self.case.table, part) if isinstance(part, str) else part
                for part in query.parts
            )
        return self.connector().spool(query, self.folder / "result.arrow", limits, progress)

    def marked(self, query: str) -> str:
        """The query with a comment by which the server's list of queries shows it."""
        if self.case.sql:
            return f"{query} {self.marker}"
        return f'{query[:-1]}, "comment": "{self.marker}"}}'

    def files(self) -> list[str]:
        return [path.name for path in self.folder.iterdir()]

    def runs(self) -> bool:
        """True while the server works on this test's query."""
        return any(self.marker in statement for statement in self.statements())

    def wait_until_gone(self) -> None:
        wait_until(lambda: not self.runs(), "the end of the query", seconds=10)


@pytest.fixture(params=list(CASES), ids=lambda kind: LABELS.get(kind, kind))
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Source:
    case = CASES[request.param]
    folder = tmp_path / "execution"
    folder.mkdir()
    made = _MADE[request.param](request, case, folder, tmp_path)
    if case.create:
        made.execute(*case.create)
    return made


def _server(kind: str, fixture: str) -> Callable[[pytest.FixtureRequest, Case, Path, Path], Source]:
    """A database of a server that a fixture gives."""

    def make(request: pytest.FixtureRequest, case: Case, folder: Path, _: Path) -> Source:
        database: Database[DatabaseServer] = request.getfixturevalue(fixture)
        row = DataSource(7, "shop", kind, database.url, {})
        server = database.server
        return Source(case, row, folder, database.execute, server.statements, server.kill, _LOOPBACK)

    return make


def _sqlite(_: pytest.FixtureRequest, case: Case, folder: Path, home: Path) -> Source:
    file = home / "a shop?.db"

    def execute(*statements: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(file)) as connection, connection:
            return [connection.execute(statement).fetchall() for statement in statements][-1]

    return Source(
        case,
        DataSource(7, "shop", "sqlite", f"sqlite:///{str(file).replace('?', '%3F')}", {}),
        folder,
        execute,
    )


def _duckdb(_: pytest.FixtureRequest, case: Case, folder: Path, home: Path) -> Source:
    file = home / "a 'shop'.duckdb"

    def execute(*statements: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(file) as connection:
            return [connection.execute(statement).fetchall() for statement in statements][-1]

    return Source(case, DataSource(7, "shop", "duckdb", f"duckdb:///{file}", {}), folder, execute)


def _mongodb(request: pytest.FixtureRequest, case: Case, folder: Path, _: Path) -> Source:
    front: MongoDBFront = request.getfixturevalue("mongodb_front")
    front.insert("kept", {"_id": 1, "v": Decimal128(_DIGITS[:34])})

    def execute(collection: str) -> list[tuple[Any, ...]]:
        return [(document["_id"],) for document in front.documents(collection)]

    # How long PyMongo looks for a server that has gone.
    row = DataSource(7, "shop", "mongodb", front.url(), {"connect_timeout": 3})
    return Source(case, row, folder, execute, front.statements, front.kill)


def _bigquery(request: pytest.FixtureRequest, case: Case, folder: Path, _: Path) -> Source:
    front: BigQueryFront = request.getfixturevalue("bigquery_front")
    row = DataSource(7, "shop", "bigquery", front.url, {})
    return Source(case, row, folder, front.execute, front.statements, front.kill, _LOOPBACK)


def _rows_of(database: Path, write: Callable[[duckdb.DuckDBPyConnection, str], object]) -> Callable[..., Any]:
    """What runs statements on a database beside the source, and then writes its one table anew."""

    def execute(*statements: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(database) as connection:
            found = [connection.execute(statement).fetchall() for statement in statements][-1]
            write(connection, "SELECT kept.id, binds.* FROM kept LEFT JOIN binds ON true")
            return found

    return execute


def _file(_: pytest.FixtureRequest, case: Case, folder: Path, home: Path) -> Source:
    file = home / "a 'shop'.parquet"

    def write(connection: duckdb.DuckDBPyConnection, rows: str) -> None:
        name = str(file).replace("'", "''")
        connection.execute(f"COPY ({rows}) TO '{name}' (FORMAT parquet)")

    row = DataSource(7, "shop", "file", str(file), {})
    settings = SourceSettings(file_roots=(home,))
    return Source(case, row, folder, _rows_of(home / "side.duckdb", write), settings=settings)


class _Api(WebServer):
    """Answers with what it was given last."""

    body = "[]"

    def _next_answer(self, request: Request) -> Answer:
        return Answer(200, body=self.body)


def _http_api(request: pytest.FixtureRequest, case: Case, folder: Path, home: Path) -> Source:
    server = _Api()
    running = server.running()
    running.__enter__()
    request.addfinalizer(lambda: running.__exit__(None, None, None))

    def write(connection: duckdb.DuckDBPyConnection, rows: str) -> None:
        (found,) = connection.sql(f"SELECT to_json(list(r)) FROM ({rows}) AS r").fetchall()
        server.body = str(found[0])

    columns = {"id": "integer", "s": "text", "i": "integer", "d": "decimal(12, 3)", "dt": "date"}
    row = DataSource(
        7, "shop", "http_api", server.url, {"columns": {**columns, "ts": "timestamp", "b": "boolean"}}
    )
    return Source(case, row, folder, _rows_of(home / "side.duckdb", write), settings=_LOOPBACK)


_MADE: dict[str, Callable[[pytest.FixtureRequest, Case, Path, Path], Source]] = {
    "mysql": _server("mysql", "mysql_database"),
    "mariadb": _server("mysql", "mariadb_database"),
    "postgresql": _server("postgresql", "postgresql_database"),
    "sqlite": _sqlite,
    "duckdb": _duckdb,
    "clickhouse": _server("clickhouse", "clickhouse_database"),
    "file": _file,
    "http_api": _http_api,
    "mongodb": _mongodb,
    "snowflake": _server("snowflake", "snowflake_database"),
    "sqlserver": _server("sqlserver", "sqlserver_database"),
    "bigquery": _bigquery,
    "trino": _server("trino", "trino_schema"),
}


def _only(kinds: list[str]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        "source", kinds, indirect=True, ids=[LABELS.get(kind, kind) for kind in kinds]
    )


with_a_server = _only(SERVERS)
with_sql = _only(SQL)
with_databases = _only([kind for kind in SERVERS if kind in SQL])


def test_every_kind_has_a_case() -> None:
    assert set(CONNECTORS.kinds()) - WITHOUT_SERVER == {case.kind for case in CASES.values()}
    assert set(CASES) == set(_MADE)


def test_rows_are_streamed_in_order(source: Source) -> None:
    seen: list[int] = []

    result = source.spool(source.case.rows.format(count=25_000), on_progress=seen.append)

    spool = Spool.open(result.spool)
    numbers = [n for batch in spool.batches(["n"]) for n in batch.column(0).to_pylist()]
    assert numbers == list(range(1, 25_001))
    assert (result.row_count, result.truncated) == (25_000, False)
    assert [column.name for column in result.columns] == ["n", "pad"]
    assert seen == sorted(seen)
    assert len(seen) >= 3
    assert seen[-1] == 25_000
    assert all(batch.num_rows <= 10_000 for batch in spool.batches())


@pytest.mark.parametrize("max_rows", [1, 10_000, 12_345])
def test_max_rows_cuts_the_result_and_says_so(source: Source, max_rows: int) -> None:
    result = source.spool(source.case.rows.format(count=25_000), max_rows=max_rows)

    assert (result.row_count, result.truncated) == (max_rows, True)
    assert Spool.open(result.spool).row_count == max_rows


@pytest.mark.parametrize("count", [1, 10_000, 10_001])
def test_exactly_max_rows_is_a_whole_result(source: Source, count: int) -> None:
    result = source.spool(source.case.rows.format(count=count), max_rows=count)

    assert (result.row_count, result.truncated) == (count, False)


def test_a_huge_result_is_aborted_and_not_drained(source: Source) -> None:
    started = time.monotonic()

    result = source.spool(source.case.rows.format(count=1_000_000_000), max_rows=1000)

    assert result.truncated
    assert time.monotonic() - started < 10
    source.wait_until_gone()


def test_an_interrupt_in_the_middle_ends_the_query_and_leaves_no_file(source: Source) -> None:
    seen: list[bool] = []

    def interrupt(_: int) -> None:
        seen.append(source.runs())
        if len(seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        source.spool(source.case.rows.format(count=1_000_000_000), on_progress=interrupt)

    assert all(seen) or not source.case.server
    assert source.files() == []
    source.wait_until_gone()


def test_a_signal_ends_a_query_that_has_no_rows_yet(source: Source) -> None:
    started = time.monotonic()
    interrupt = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT))
    interrupt.start()

    with pytest.raises(KeyboardInterrupt):
        source.spool(source.case.slow)

    interrupt.join()
    assert time.monotonic() - started < 15
    assert source.files() == []
    source.wait_until_gone()


def test_an_interrupt_of_another_kind_is_not_changed(source: Source) -> None:
    class RunCancelled(BaseException):
        pass

    def cancel(*_: object) -> None:
        raise RunCancelled

    before = signal.signal(signal.SIGUSR1, cancel)
    interrupt = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGUSR1))
    interrupt.start()
    try:
        with pytest.raises(RunCancelled):
            source.spool(source.case.slow)
    finally:
        interrupt.join()
        signal.signal(signal.SIGUSR1, before)

    assert source.files() == []
    source.wait_until_gone()


def test_a_query_that_is_over_may_be_stopped(source: Source) -> None:
    connector = source.connector()
    query = BoundQuery.of([source.case.rows.format(count=10)])
    connector.spool(query, source.folder / "result.arrow", QueryLimits(120, 1_000_000))

    connector.stop()


@with_a_server
def test_a_server_that_dies_in_the_middle_is_a_transient_error(source: Source) -> None:
    with pytest.raises(TransientError) as raised:
        source.spool(source.case.rows.format(count=100_000_000), on_progress=lambda _: source.kill())

    assert source.files() == []
    _assert_tells_no_secret(raised.value)


@with_a_server
def test_a_server_that_is_not_there_is_a_transient_error(source: Source) -> None:
    source.kill()

    with pytest.raises(TransientError, match="cannot be reached"):
        source.connector().check(5)


def test_the_time_limit_stops_a_statement_that_computes(source: Source) -> None:
    started = time.monotonic()

    with pytest.raises(PermanentError, match=r"longer than timeout_seconds = 1; .*report_configs"):
        source.spool(source.case.slow, timeout_seconds=1)

    assert time.monotonic() - started < 5, "the client alone would have waited longer"
    assert source.files() == []
    source.wait_until_gone()


def test_the_time_limit_stops_a_result_that_goes_on(source: Source) -> None:
    with pytest.raises(PermanentError, match="longer than timeout_seconds = 1"):
        source.spool(source.case.rows.format(count=1_000_000_000), timeout_seconds=1, max_rows=10**9)

    assert source.files() == []
    source.wait_until_gone()


def test_the_session_itself_refuses_to_write(source: Source) -> None:
    if source.case.refusal:
        with pytest.raises(ConfigurationError, match=source.case.refusal):
            source.spool(source.case.write)
    else:
        source.spool(source.case.write)

    assert source.execute(source.case.kept) == [(1,)]


@_only([kind for kind, case in CASES.items() if case.server and case.password])
def test_a_wrong_password_names_the_row_to_change(source: Source) -> None:
    url = source.row.url.replace(":p%40ss", ":not-p%40ss")

    with pytest.raises(ConfigurationError, match=r"report_datasources 7, column connection_url") as raised:
        source.connector(url=url).check(5)

    _assert_tells_no_secret(raised.value)
    assert "not-p" not in str(raised.value)


@with_a_server
def test_an_unknown_host_names_the_row_to_change(source: Source) -> None:
    url = source.row.url.replace("127.0.0.1", "no-such-host.invalid")

    connector = source.connector(url=url)
    for ask in (connector.resolve, lambda: connector.check(5)):
        with pytest.raises(ConfigurationError, match=r"column connection_url: unknown host") as raised:
            ask()
        _assert_tells_no_secret(raised.value)


@with_databases
def test_an_unknown_database_names_the_row_to_change(source: Source) -> None:
    url = source.row.url.replace("/test_", "/no_such_")

    with pytest.raises(ConfigurationError, match=r"column connection_url: .*no_such_") as raised:
        source.connector(url=url).check(5)

    _assert_tells_no_secret(raised.value)


@with_sql
@pytest.mark.parametrize(
    "query", ["SELECT no_such_column FROM kept", "SELECT id FROM no_such_table", "SELECT FROM WHERE"]
)
def test_a_query_that_the_database_refuses_is_told_in_its_words(source: Source, query: str) -> None:
    with pytest.raises(
        ConfigurationError, match=r"(?i)the database refused the query: .*(no_such|syntax)"
    ) as raised:
        source.spool(query)

    assert "\n" not in str(raised.value)
    assert source.files() == []
    _assert_tells_no_secret(raised.value)


@with_sql
def test_awkward_column_names_become_distinct(source: Source) -> None:
    query, names = source.case.names

    result = source.spool(query)

    assert [column.name for column in result.columns] == names


@with_sql
def test_an_empty_result_keeps_its_columns(source: Source) -> None:
    result = source.spool("SELECT s, i, dt FROM binds WHERE 1 = 0")

    assert [(column.name, column.type) for column in result.columns] == [
        ("s", "string"),
        ("i", source.case.integer),
        ("dt", "date32[day]"),
    ]
    assert Spool.open(result.spool).row_count == 0


@_only([kind for kind, case in CASES.items() if case.no_columns])
def test_a_statement_without_columns_is_an_error(source: Source) -> None:
    with pytest.raises(PermanentError, match="no columns"):
        source.spool(source.case.no_columns)


@with_sql
@pytest.mark.parametrize(
    "text", ["it's", 'double "quotes"', "100 %s %(s)s %", ":s ?", r"back\slash\'", "😀 é", "", "a\nb\t;--"]
)
def test_values_of_every_python_type_reach_the_database(source: Source, text: str) -> None:
    values = {
        "s": text,
        "i": -2_000_000_000,
        "d": Decimal("123456789.125"),
        "dt": date(2013, 2, 28),
        "ts": datetime.fromisoformat("2013-02-28 23:59:59"),
        "b": True,
    }
    _insert(source, values)
    parts: list[str | Bind] = ["SELECT '100 %s :x ?' AS literal, s FROM binds WHERE "]
    for name, value in values.items():
        parts += [f"{name} = ", Bind(name, value), " AND "]
    parts += [Bind("nothing", None), " IS NULL AND ", Bind("s", text), " IS NOT NULL"]

    result = source.spool(BoundQuery.of(parts))

    assert Spool.open(result.spool).head(2).to_pylist() == [{"literal": "100 %s :x ?", "s": text}]


def test_a_number_that_no_type_of_64_bits_holds_keeps_every_digit(source: Source) -> None:
    query, digits = source.case.exact

    result = source.spool(query)

    assert Decimal(Spool.open(result.spool).head(1).to_pylist()[0]["v"]) == Decimal(digits)


def test_a_result_of_any_length_fits_into_bounded_memory(source: Source, tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from reporthub_dagster.connectors.base import QueryLimits\n"
        "from reporthub_dagster.connectors.registry import CONNECTORS\n"
        "from reporthub_dagster.connectors.source_settings import SourceSettings\n"
        "from reporthub_dagster.network.egress import EgressPolicy\n"
        "from reporthub_dagster.reporting.bound_query import BoundQuery\n"
        "from reporthub_dagster.reporting.records import DataSource\n"
        "kind, url, small, large, target = sys.argv[1:]\n"
        "settings = SourceSettings(EgressPolicy.parse('default', '127.0.0.1'), (Path(target).parent,))\n"
        "connector = CONNECTORS.get(kind)(DataSource(1, 's', kind, url, {}), settings)\n"
        "def run(query):\n"
        "    connector.spool(BoundQuery.of([query]), Path(target), QueryLimits(120, 1_000_000))\n"
        "    status = Path('/proc/self/status').read_text()\n"
        "    return int(status.split('VmHWM:')[1].split()[0]) // 1024\n"
        "print(run(small), run(large))\n"
    )
    queries = [source.case.rows.format(count=count) for count in (30_000, 130_000)]

    answer = subprocess.run(
        [sys.executable, "-c", script, source.case.kind, source.row.url, *queries, tmp_path / "spool"],
        check=True,
        capture_output=True,
        text=True,
    )

    before, after = map(int, answer.stdout.split())
    assert after - before < 12, "MiB for 100,000 rows more, 21 MB of data"
    assert after < 250


def test_a_trial_tells_address_product_time_and_rights(source: Source) -> None:
    connector = source.connector()

    address = "127.0.0.1" if source.case.server or source.case.kind == "http_api" else "on this machine"
    assert address in connector.resolve()
    assert connector.check(5).startswith(source.case.product)
    assert (connector.answer_ms is None) == bool(source.case.table), "files and APIs are asked no query"
    assert bool(connector.writes(5)) == source.case.rights


def test_a_url_of_another_kind_is_refused_without_being_shown(source: Source) -> None:
    url = f"oracle://scott:{PASSWORD}@db/x"

    with pytest.raises(ConfigurationError, match=r"report_datasources 7, column connection_url") as raised:
        source.connector(url=url)

    assert "scott" not in str(raised.value)
    _assert_tells_no_secret(raised.value)


def test_unknown_options_are_passed_over_with_a_warning(source: Source) -> None:
    connector = source.connector(options={"pool_size": 5, "max_overflow": 1, "pool_recycle": 60, "colour": 1})

    assert connector.warnings == (
        "report_datasources 7, column connection_config: the unknown key 'colour' was passed over",
    )
    assert connector.check(5)


def test_an_impossible_option_names_its_column(source: Source) -> None:
    with pytest.raises(
        ConfigurationError, match=r"report_datasources 7, column connection_config: connect_timeout"
    ):
        source.connector(options={"connect_timeout": "soon"})


def test_a_connector_shows_no_secret(source: Source) -> None:
    connector = source.connector(options={"ssl_key_password": "geheim-1", "password2": "geheim-2"})

    held = {name: value for name, value in vars(connector).items() if name != "_secrets"}
    shown = f"{connector!r} {held!r} {connector.warnings}"

    assert "geheim" not in shown
    assert PASSWORD not in shown
    assert "p%40ss" not in shown


def _insert(source: Source, values: dict[str, Any]) -> None:
    text = values["s"].replace("'", "''")
    if source.case.kind in ("mysql", "clickhouse", "snowflake"):
        text = text.replace("\\", "\\\\")
    if source.case.kind == "bigquery":
        text = json.dumps(values["s"], ensure_ascii=False)[1:-1].replace('\\"', '"').replace("'", "\\'")
    number = values["d"] if source.case.kind != "sqlite" else float(values["d"])
    true = "TRUE" if source.case.kind != "sqlite" else "1"
    source.execute(
        f"INSERT INTO binds VALUES ('{text}', {values['i']}, {number}, '{values['dt']}', '{values['ts']}', "
        f"{true})"
    )


def _assert_tells_no_secret(error: ReportHubError) -> None:
    assert "p@ss" not in str(error)
    assert "p%40ss" not in str(error)
    assert error.__cause__ is None
    assert error.__suppress_context__ or error.__context__ is None
