"""Random tables, read by ReportHub and by the drivers themselves: every value must be the same."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pymysql
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reporthub_dagster.connectors import postgresql_blocks, postgresql_stream
from reporthub_dagster.connectors.base import Connector, QueryLimits
from reporthub_dagster.connectors.mysql import MySQLConnector
from reporthub_dagster.connectors.mysql_wire import Wire as MySQLWire
from reporthub_dagster.connectors.postgresql import PostgreSQLConnector
from reporthub_dagster.reporting.bound_query import BoundQuery
from reporthub_dagster.reporting.records import DataSource
from reporthub_dagster.storage.spool import Spool
from reporthub_dagster_tests.servers.mariadb import MariaDBDatabase
from reporthub_dagster_tests.servers.postgresql import PostgreSQLDatabase

Row = tuple[Any, ...]

SOME = settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
ZERO_DATE = "0000-00-00"

_AWKWARD = [
    "",
    '"',
    '""',
    "\\",
    "\\\\",
    "\n",
    "\r\n",
    "\t",
    ",",
    "(",
    ")",
    "'",
    "NULL",
    "\\N",
    "\ufeff",
    "😀",
]


def whole(bits: int, *, signed: bool = True) -> st.SearchStrategy[int]:
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return st.one_of(st.sampled_from([low, high, 0]), st.integers(low, high))


def digits(precision: int, scale: int) -> st.SearchStrategy[Decimal]:
    most = 10**precision - 1
    return st.one_of(st.sampled_from([most, -most, 1, 0]), st.integers(-most, most)).map(
        lambda number: Decimal(f"{number}E-{scale}")
    )


def texts(*, nul: bool) -> st.SearchStrategy[str]:
    letters = st.characters(exclude_categories=["Cs"], exclude_characters="" if nul else "\0")
    pieces = st.one_of(st.sampled_from([*_AWKWARD, *(["\0"] if nul else [])]), st.text(letters, max_size=5))
    return st.one_of(st.lists(pieces, max_size=5).map("".join), st.integers(240, 260).map(lambda n: "é" * n))


DAYS = st.dates(date(1, 1, 1), date(9999, 12, 31))
MOMENTS = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999999))  # noqa: DTZ001 - a wall clock
INSTANTS = st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001 - see above
DOUBLES = st.floats(allow_nan=False, allow_infinity=False)
LONGEST_TIME = timedelta(hours=838, minutes=59, seconds=59)

MYSQL: dict[str, st.SearchStrategy[Any]] = {
    "tinyint": whole(8),
    "smallint unsigned": whole(16, signed=False),
    "mediumint": whole(24),
    "int unsigned": whole(32, signed=False),
    "bigint": whole(64),
    "bigint unsigned": whole(64, signed=False),
    "decimal(65,30)": digits(65, 30),
    "decimal(38,0)": digits(38, 0),
    "decimal(7,7)": digits(7, 7),
    "double": DOUBLES,
    "date": st.one_of(DAYS, st.just(ZERO_DATE)),
    "datetime(6)": st.one_of(MOMENTS, st.just(f"{ZERO_DATE} 00:00:00")),
    "time(6)": st.timedeltas(-LONGEST_TIME, LONGEST_TIME),
    "longtext": texts(nul=True),
    "longblob": st.binary(max_size=300),
}
POSTGRESQL: dict[str, st.SearchStrategy[Any]] = {
    "boolean": st.booleans(),
    "smallint": whole(16),
    "int": whole(32),
    "bigint": whole(64),
    "numeric(65,30)": digits(65, 30),
    "numeric(38,0)": digits(38, 0),
    "numeric(7,7)": digits(7, 7),
    "float8": DOUBLES,
    "date": DAYS,
    "timestamp": MOMENTS,
    "timestamptz": INSTANTS,
    "oid": whole(32, signed=False),
    "float4": st.floats(width=32, allow_nan=False),
    "time": st.times(),
    "text": texts(nul=False),
    "varchar": texts(nul=False),
    "bytea": st.binary(max_size=300),
}


def tables(columns: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[list[Row]]:
    cells = [st.one_of(st.none(), values) for values in columns.values()]
    return st.lists(st.tuples(*cells), max_size=25)


def created(columns: dict[str, Any]) -> str:
    return f"CREATE TABLE t (n int, {', '.join(f'c{place} {kind}' for place, kind in enumerate(columns))})"


def spooled(connector: Connector, folder: Path, *, batch_rows: int) -> list[Row]:
    limits = QueryLimits(timeout_seconds=60, max_rows=1000, batch_rows=batch_rows)
    result = connector.spool(BoundQuery.of([QUERY]), folder / "spool", limits)
    return [tuple(row.values()) for row in Spool.open(result.spool).head(1000).to_pylist()]


QUERY = "SELECT * FROM t ORDER BY n"


@pytest.fixture
def mysql(mariadb_database: MariaDBDatabase) -> Iterator[tuple[MySQLConnector, pymysql.cursors.Cursor]]:
    mariadb_database.execute(created(MYSQL))
    server = mariadb_database.server
    with (
        pymysql.connect(
            host=server.host,
            port=server.port,
            user=server.user,
            password=server.password,
            database=mariadb_database.name,
            autocommit=True,
            init_command="SET sql_mode = ''",
        ) as connection,
        connection.cursor() as cursor,
    ):
        yield MySQLConnector(DataSource(7, "shop", "mysql", mariadb_database.url, {})), cursor


@pytest.fixture
def postgresql(
    postgresql_database: PostgreSQLDatabase,
) -> Iterator[tuple[dict[str, PostgreSQLConnector], psycopg.Cursor[Row]]]:
    postgresql_database.execute(created(POSTGRESQL))
    url = postgresql_database.url
    with (
        psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection,
        connection.cursor() as cursor,
    ):
        yield (
            {
                mode: PostgreSQLConnector(DataSource(7, "shop", "postgresql", url, {"sslmode": mode}))
                for mode in ("disable", "require")
            },
            cursor,
        )


@SOME
@given(tables(MYSQL), st.integers(1, 30), st.integers(16, 600))
def test_mysql_gives_what_pymysql_gives(
    mysql: tuple[MySQLConnector, Any], tmp_path: Path, rows: list[Row], batch_rows: int, block_bytes: int
) -> None:
    connector, cursor = mysql
    fill(cursor, rows, len(MYSQL))
    cursor.execute(QUERY)
    theirs = [tuple(None if is_zero(cell) else cell for cell in row) for row in cursor.fetchall()]

    ours = spooled(connector, tmp_path, batch_rows=batch_rows)

    assert ours == theirs
    assert raw_by_us(connector, batch_rows, block_bytes) == raw_by_pymysql(connector)


@SOME
@given(tables(POSTGRESQL), st.sampled_from(["disable", "require"]), st.integers(1, 30), st.integers(64, 9000))
def test_postgresql_gives_what_psycopg_gives(
    postgresql: tuple[dict[str, PostgreSQLConnector], Any],
    tmp_path: Path,
    rows: list[Row],
    mode: str,
    batch_rows: int,
    block_bytes: int,
) -> None:
    connectors, cursor = postgresql
    fill(cursor, rows, len(POSTGRESQL))
    theirs = cursor.execute(QUERY).fetchall()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            postgresql_stream, "rows_of", partial(postgresql_blocks.rows_of, block_bytes=block_bytes)
        )
        assert spooled(connectors[mode], tmp_path, batch_rows=batch_rows) == theirs
        patch.setattr(postgresql_blocks, "socket_of", lambda *_: None)
        assert spooled(connectors[mode], tmp_path, batch_rows=batch_rows) == theirs


def fill(cursor: Any, rows: list[Row], columns: int) -> None:
    cursor.execute("TRUNCATE TABLE t")
    places = ", ".join(["%s"] * (columns + 1))
    for number, row in enumerate(rows):
        cursor.execute(f"INSERT INTO t VALUES ({places})", (number, *row))


def is_zero(cell: Any) -> bool:
    """True for what PyMySQL makes of a zero date: the text of it."""
    return isinstance(cell, str) and cell.startswith(ZERO_DATE)


def raw_by_us(connector: MySQLConnector, rows: int, block_bytes: int) -> list[Row]:
    wire = MySQLWire(connector.connection(30), block_bytes)
    try:
        columns = len(wire.send(QUERY))
        found: list[Row] = []
        while len((cells := wire.read(columns, rows=rows, seconds=60))[0]):
            found += zip(*(array.to_pylist() for array in cells), strict=True)
        return found
    finally:
        wire.close()


def raw_by_pymysql(connector: MySQLConnector) -> list[Row]:
    with connector.connection(30) as connection, connection.cursor() as cursor:
        cursor.execute(QUERY)
        return list(cursor.fetchall())
