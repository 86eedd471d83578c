from __future__ import annotations

import gc
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pymysql
import pytest
import trustme

from reporthub_dagster.connectors.mysql import MySQLConnector
from reporthub_dagster.connectors.mysql_wire import Wire
from reporthub_dagster.reporting.bound_query import Bind, BoundQuery
from reporthub_dagster.reporting.errors import ConfigurationError, PermanentError, TransientError
from reporthub_dagster.reporting.records import DataSource
from reporthub_dagster.storage.spool import Spool
from reporthub_dagster_tests.connectors.reading import LIMITS, column, read, types
from reporthub_dagster_tests.servers.mariadb import PASSWORD, MariaDBDatabase
from reporthub_dagster_tests.servers.mysql import THOUSAND, MySQLServer
from reporthub_dagster_tests.servers.process import wait_until

# column → declaration, type, literals and the values they must come back as
TYPES: dict[str, tuple[str, str, list[tuple[str, Any]]]] = {
    "i8": ("tinyint", "int8", [("-128", -128), ("127", 127)]),
    "u8": ("tinyint unsigned", "uint8", [("0", 0), ("255", 255)]),
    "flag": ("tinyint(1)", "int8", [("TRUE", 1), ("2", 2)]),
    "i16": ("smallint", "int16", [("-32768", -32768), ("32767", 32767)]),
    "u16": ("smallint unsigned", "uint16", [("65535", 65535)]),
    "i24": ("mediumint", "int32", [("-8388608", -8388608)]),
    "u24": ("mediumint unsigned", "uint32", [("16777215", 16777215)]),
    "i32": ("int", "int32", [("-2147483648", -(2**31)), ("2147483647", 2**31 - 1)]),
    "u32": ("int unsigned", "uint32", [("4294967295", 2**32 - 1)]),
    "z32": ("int(6) unsigned zerofill", "uint32", [("42", 42)]),
    "i64": ("bigint", "int64", [("-9223372036854775808", -(2**63)), ("9223372036854775807", 2**63 - 1)]),
    "u64": ("bigint unsigned", "uint64", [("18446744073709551615", 2**64 - 1)]),
    "money": ("decimal(12,2)", "decimal128(12, 2)", [("-1234567890.10", Decimal("-1234567890.10"))]),
    "whole": ("decimal(38,0)", "decimal128(38, 0)", [("9" * 38, Decimal("9" * 38))]),
    "upos": ("decimal(10,4) unsigned", "decimal128(10, 4)", [("999999.9999", Decimal("999999.9999"))]),
    "huge": (
        "decimal(65,30)",
        "decimal256(65, 30)",
        [(f"-{'9' * 35}.{'9' * 30}", Decimal(f"-{'9' * 35}.{'9' * 30}"))],
    ),
    "tiny": ("decimal(30,30)", "decimal128(30, 30)", [(f"0.{'0' * 29}1", Decimal("1E-30"))]),
    "f32": ("float", "double", [("0.1", 0.1), ("-3.40282e38", -3.40282e38)]),
    "f64": ("double", "double", [("0.1", 0.1), ("1.7976931348623157e308", 1.7976931348623157e308)]),
    "d": ("date", "date32[day]", [("'1000-01-01'", date(1000, 1, 1)), ("'9999-12-31'", date(9999, 12, 31))]),
    "dt": (
        "datetime",
        "timestamp[us]",
        [("'2024-02-29 23:59:59'", datetime.fromisoformat("2024-02-29 23:59:59"))],
    ),
    "dt6": (
        "datetime(6)",
        "timestamp[us]",
        [("'9999-12-31 23:59:59.999999'", datetime.fromisoformat("9999-12-31 23:59:59.999999"))],
    ),
    "ts3": (
        "timestamp(3) null",
        "timestamp[us]",
        [("'2013-01-01 10:00:00.5'", datetime.fromisoformat("2013-01-01 10:00:00.500000"))],
    ),
    "t": ("time", "duration[us]", [("'838:59:59'", timedelta(hours=838, minutes=59, seconds=59))]),
    "t6": (
        "time(6)",
        "duration[us]",
        [
            ("'-25:00:00.000001'", -timedelta(hours=25, microseconds=1)),
            ("'00:00:00.5'", timedelta(seconds=0.5)),
        ],
    ),
    "y": ("year", "int16", [("1901", 1901), ("2155", 2155)]),
    "b1": ("bit(1)", "bool", [("b'1'", True), ("b'0'", False)]),
    "b64": ("bit(64)", "uint64", [(f"b'{'1' * 64}'", 2**64 - 1)]),
    "c": ("char(5)", "string", [("'ab'", "ab")]),
    "latin": ("varchar(20) character set latin1", "string", [("'é€'", "é€")]),
    "vc": ("varchar(200)", "string", [("'😀 ñ'", "😀 ñ"), ("''", "")]),
    "txt": ("longtext", "string", [("'line\\nline'", "line\nline")]),
    "e": ("enum('a','😀')", "string", [("'😀'", "😀")]),
    "s": ("set('x','y')", "string", [("'x,y'", "x,y"), ("''", "")]),
    "bin": ("binary(3)", "binary", [("x'01'", b"\x01\0\0")]),
    "vbin": ("varbinary(9)", "binary", [("x'00ff27'", b"\0\xff'")]),
    "blb": ("longblob", "binary", [("x''", b""), ("x'deadbeef'", b"\xde\xad\xbe\xef")]),
    "g": (
        "point",
        "binary",
        [("point(1, 2)", bytes.fromhex("000000000101000000000000000000f03f0000000000000040"))],
    ),
}
OF_MYSQL = {"js": ("json", "json", [("""'{"a": [1, "😀"]}'""", '{"a": [1, "😀"]}')])}
OF_MARIADB: dict[str, tuple[str, str, list[tuple[str, Any]]]] = {
    "js": ("json", "string", [("""'{"a": [1, "😀"]}'""", '{"a": [1, "😀"]}')]),
    "u": (
        "uuid",
        "string",
        [("'123e4567-e89b-12d3-a456-426614174000'", "123e4567-e89b-12d3-a456-426614174000")],
    ),
    "ip": ("inet6", "string", [("'::1'", "::1")]),
}

SLOW = f"{THOUSAND} SELECT SUM(a.i * b.i) AS x FROM k AS a, k AS b, k AS c, k AS d"


@pytest.fixture
def database(mysql_or_mariadb: MariaDBDatabase) -> MariaDBDatabase:
    return mysql_or_mariadb


def types_of(database: MariaDBDatabase) -> dict[str, tuple[str, str, list[tuple[str, Any]]]]:
    return TYPES | (OF_MYSQL if isinstance(database.server, MySQLServer) else OF_MARIADB)


def connector_of(database: MariaDBDatabase, url: str = "", **options: Any) -> MySQLConnector:
    return MySQLConnector(DataSource(7, "shop", "mysql", url or database.url, options))


def test_every_type_arrives_exactly(database: MariaDBDatabase, tmp_path: Path) -> None:
    known = types_of(database)
    database.execute(f"CREATE TABLE t ({', '.join(f'{name} {made[0]}' for name, made in known.items())})")
    for name, (_, _, values) in known.items():
        for literal, _ in values:
            database.execute(f"INSERT INTO t ({name}) VALUES ({literal})")

    result, rows = read(connector_of(database), "SELECT * FROM t", tmp_path)

    assert types(result) == {name: made[1] for name, made in known.items()}
    for name, (_, _, values) in known.items():
        assert [value for value in column(rows, name) if value is not None] == [value for _, value in values]
    assert result.warnings == ()


def test_a_column_of_nulls_keeps_its_declared_type(database: MariaDBDatabase, tmp_path: Path) -> None:
    known = types_of(database)
    database.execute(
        f"CREATE TABLE t ({', '.join(f'{name} {made[0]}' for name, made in known.items())})",
        "INSERT INTO t (i8) VALUES (NULL)",
    )

    result, rows = read(connector_of(database), "SELECT *, NULL AS untyped FROM t", tmp_path)

    assert types(result) == {**{name: made[1] for name, made in known.items()}, "untyped": "string"}
    assert set(rows[0].values()) == {None}


def test_zero_dates_are_null_and_impossible_ones_are_counted(
    database: MariaDBDatabase, tmp_path: Path
) -> None:
    database.execute(
        "CREATE TABLE t (d date, dt datetime)",
        "SET SESSION sql_mode = 'ALLOW_INVALID_DATES'",
        "INSERT INTO t VALUES ('0000-00-00', '0000-00-00 00:00:00'), ('2013-00-05', '2013-05-00 10:00:00'), "
        "('2013-02-31', '2013-02-31 10:00:00'), ('2013-02-28', '2013-02-28 10:00:00')",
    )

    result, rows = read(connector_of(database), "SELECT * FROM t", tmp_path)

    assert column(rows, "d") == [None, None, None, date(2013, 2, 28)]
    assert column(rows, "dt") == [None, None, None, datetime.fromisoformat("2013-02-28 10:00:00")]
    assert result.warnings == (
        "column 'd': 1 values that are no date of the years 1 to 9999 are empty",
        "column 'dt': 1 values that are no date of the years 1 to 9999 are empty",
    )


def test_computed_columns_are_exact(database: MariaDBDatabase, tmp_path: Path) -> None:
    database.execute(
        "CREATE TABLE t (m decimal(12,2), n int)", "INSERT INTO t VALUES (0.10, 1), (0.20, 2), (NULL, 3)"
    )

    result, rows = read(
        connector_of(database),
        "SELECT SUM(m) AS total, AVG(m) AS mean, COUNT(*) AS rows_, n / 3 AS third, n > 1 AS big "
        "FROM t WHERE n = 1",
        tmp_path,
    )

    assert types(result)["total"] == "decimal128(34, 2)"
    assert rows == [
        {
            "total": Decimal("0.10"),
            "mean": Decimal("0.100000"),
            "rows_": 1,
            "third": Decimal("0.3333"),
            "big": 0,
        }
    ]


@pytest.mark.parametrize(
    "scheme", ["mysql", "mysql+pymysql", "mariadb", "mysql+mysqldb", "mariadb+mariadbconnector", "MySQL"]
)
def test_urls_of_existing_rows_reach_the_server(database: MariaDBDatabase, scheme: str) -> None:
    url = database.server.url(database.name, scheme=scheme)

    assert connector_of(database, url).check(5).startswith(("MySQL 9", "MariaDB 1"))


def test_options_of_old_rows_are_accepted_without_a_warning(
    database: MariaDBDatabase, tmp_path: Path
) -> None:
    connector = connector_of(
        database,
        pool_size=5,
        max_overflow=10,
        pool_recycle=3600,
        connect_timeout="5",
        read_timeout=60,
        write_timeout=60,
        charset="latin1",
        ssl_ca=None,
        ssl_key="",
        init_command="SET NAMES latin1",
    )

    _, rows = read(connector, "SELECT '😀' AS face", tmp_path)

    assert connector.warnings == ()
    assert rows == [{"face": "😀"}]


def test_the_time_zone_of_the_session_can_be_chosen(database: MariaDBDatabase, tmp_path: Path) -> None:
    database.execute("CREATE TABLE t (ts timestamp)", "INSERT INTO t VALUES (FROM_UNIXTIME(1356998400))")

    _, rows = read(connector_of(database, time_zone="+07:00"), "SELECT ts FROM t", tmp_path)

    assert rows == [{"ts": datetime.fromisoformat("2013-01-01 07:00:00")}]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"sql_mode": "NO_BACKSLASH_ESCAPES"},
        {"init_command": "SET sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES'"},
        {"init_command": "SET NAMES gbk"},
    ],
)
@pytest.mark.parametrize("text", [r"a\' OR 1=1 -- ", "\\", "縗' OR 1=1 -- ", "''"])
def test_no_mode_of_the_session_lets_a_value_out_of_its_quotes(
    database: MariaDBDatabase, tmp_path: Path, options: dict[str, str], text: str
) -> None:
    query = BoundQuery.of(
        ["SELECT ", Bind("x", text), " AS x WHERE ", Bind("x", text), " = 'nothing like it'"]
    )
    shown = BoundQuery.of(["SELECT ", Bind("x", text), " AS x"])
    connector = connector_of(database, **options)

    assert connector.spool(query, tmp_path / "none", LIMITS).row_count == 0
    rows = Spool.open(connector.spool(shown, tmp_path / "one", LIMITS).spool).head(2).to_pylist()
    assert rows == [{"x": text}]


def test_an_unknown_time_zone_names_the_column(database: MariaDBDatabase, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="column connection_config: time_zone is not usable"):
        read(connector_of(database, time_zone="Mars/Olympus"), "SELECT 1 AS a", tmp_path)


@pytest.mark.parametrize("where", ["connection_config", "connection_url"])
def test_a_server_is_verified_with_the_given_authority(
    database: MariaDBDatabase, tmp_path: Path, where: str
) -> None:
    right, wrong = database.server.home / "ca.pem", tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(wrong)

    def connector(authority: Path) -> MySQLConnector:
        if where == "connection_url":
            return connector_of(database, f"{database.url}&ssl_ca={authority}")
        return connector_of(database, ssl_ca=str(authority))

    _, rows = read(connector(right), "SHOW STATUS LIKE 'Ssl_cipher'", tmp_path)
    assert rows[0]["Value"].startswith("TLS_")
    with pytest.raises(ConfigurationError, match="column connection_config: no trusted TLS connection"):
        connector(wrong).check(5)
    with pytest.raises(ConfigurationError, match="column connection_config: a file cannot be read"):
        connector(tmp_path / "missing.pem").check(5)


def test_a_missing_right_names_the_row(database: MariaDBDatabase, tmp_path: Path) -> None:
    database.execute(
        "CREATE TABLE t (a int)",
        "DROP USER IF EXISTS poor@localhost",
        f"CREATE USER poor@localhost IDENTIFIED BY '{PASSWORD}'",
        f"GRANT CREATE VIEW ON {database.name}.* TO poor@localhost",
    )
    url = database.url.replace("reporthub:", "poor:")

    with pytest.raises(ConfigurationError, match=r"column connection_url: a right is missing: .*grant"):
        read(connector_of(database, url), "SELECT * FROM t", tmp_path)


def test_too_many_connections_are_worth_another_try(database: MariaDBDatabase) -> None:
    database.execute(
        "DROP USER IF EXISTS lonely@localhost",
        f"CREATE USER lonely@localhost IDENTIFIED BY '{PASSWORD}' WITH MAX_USER_CONNECTIONS 1",
        "GRANT SELECT ON *.* TO lonely@localhost",
    )
    connector = connector_of(database, database.url.replace("reporthub:", "lonely:"))
    stream = connector.open(BoundQuery.of(["SELECT 1 AS a"]), LIMITS)

    with pytest.raises(TransientError):
        connector.check(5)

    stream.close()
    assert connector.writes(5) == ""


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        *((number, TransientError) for number in (1040, 1205, 1213, 2006, 2013, 1053, 1927)),
        *((number, ConfigurationError) for number in (1044, 1045, 1049, 1142, 1130, 1227)),
        *((number, ConfigurationError) for number in (1054, 1064, 1146, 1792)),
        *((number, PermanentError) for number in (1317, 1969, 3024)),
    ],
)
def test_error_numbers_say_what_to_do(number: int, expected: type[Exception]) -> None:
    connector = MySQLConnector(DataSource(7, "shop", "mysql", "mysql://u:secret-1@h/d", {}))

    error = connector.explain(pymysql.err.OperationalError(number, "near 'secret-1'\nline 2"), LIMITS)

    assert type(error) is expected
    assert "secret-1" not in str(error)
    assert "\n" not in str(error)


def test_a_query_that_somebody_kills_is_not_repeated(database: MariaDBDatabase, tmp_path: Path) -> None:
    def kill() -> None:
        wait_until(lambda: bool(slow()), "the query")
        database.execute(f"KILL QUERY {slow()[0][0]}")

    def slow() -> list[tuple[Any, ...]]:
        return database.execute(
            "SELECT id FROM information_schema.processlist WHERE info LIKE 'WITH %/* kill me */'"
        )

    killer = threading.Thread(target=kill)
    killer.start()

    with pytest.raises(PermanentError, match="somebody stopped the query"):
        read(connector_of(database), f"{SLOW} /* kill me */", tmp_path)

    killer.join()


def test_a_server_that_falls_silent_is_given_up(database: MariaDBDatabase, tmp_path: Path) -> None:
    with pytest.raises(TransientError, match="timed out"):
        read(connector_of(database, read_timeout=1), "SELECT SLEEP(20) AS a", tmp_path)


def test_a_listener_that_is_no_server_is_given_up() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        url = f"mysql://u:p@127.0.0.1:{listener.getsockname()[1]}/d"
        connector = MySQLConnector(DataSource(7, "shop", "mysql", url, {"connect_timeout": 1}))

        with pytest.raises(TransientError):
            connector.check(5)


@pytest.mark.parametrize(
    "url",
    [
        *(
            "mysql:/u:secret-1@h/d",
            "u:secret-1@h",
            "",
            "postgresql://u:secret-1@h/d",
            "mysqlx://u:secret-1@h/d",
        ),
        *("mysql://u:secret-1@h:port/d", "mysql://u:sec@ret-1@h/d"),
    ],
)
def test_an_unusable_url_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(ConfigurationError, match="report_datasources 7, column connection_url") as raised:
        MySQLConnector(DataSource(7, "shop", "mysql", url, {}))

    assert "ret-1" not in str(raised.value)
    assert raised.value.__suppress_context__ or raised.value.__context__ is None


@pytest.fixture
def wire(database: MariaDBDatabase) -> Iterator[Wire]:
    """A wire over a connection of its own, with little memory for rows."""
    connection = connector_of(database).connection(30)
    opened = Wire(connection, block_bytes=10_000)
    opened.limit_waiting(30)
    yield opened
    opened.drop()


@pytest.mark.parametrize("length", [0, 250, 251, 65_535, 65_536, 2**24 - 10, 2**24 - 1, 2**24, 2**24 + 9])
def test_values_of_every_length_are_read(wire: Wire, length: int) -> None:
    fields = wire.send(f"SELECT 'before' AS a, REPEAT('x', {length}) AS b, NULL AS c, 'after' AS d")

    cells = rest_of(wire, len(fields))

    assert [field.name for field in fields] == ["a", "b", "c", "d"]
    assert [cells[0], cells[2], cells[3]] == [[b"before"], [None], [b"after"]]
    assert cells[1] == [b"x" * length]
    assert rest_of(wire, 4) == [[], [], [], []]


def test_narrow_and_wide_rows_follow_each_other(wire: Wire) -> None:
    lengths = [0, 9_985, 9_995, 10_000, 10_005, 5, 251, 2**24 - 4, 1, 70_000, 10_000, 3]
    wire.send(" UNION ALL ".join(f"SELECT {n} AS a, REPEAT('x', {n}) AS b" for n in lengths))

    cells = rest_of(wire, 2)

    assert cells[0] == [str(length).encode() for length in lengths]
    assert [len(cell or b"") for cell in cells[1]] == lengths


def test_a_batch_ends_by_rows_and_by_bytes(wire: Wire) -> None:
    wire.send(f"{THOUSAND} SELECT REPEAT('x', 1000) AS a FROM k AS a, k AS b")

    assert len(wire.read(1, rows=7, seconds=60)[0]) == 7
    assert len(wire.read(1, rows=1000, seconds=60)[0]) == 9

    wire.drop()


def rest_of(wire: Wire, columns: int) -> list[list[bytes | None]]:
    """All rows that are left, column by column."""
    found: list[list[bytes | None]] = [[] for _ in range(columns)]
    while len((cells := wire.read(columns, rows=10, seconds=60))[0]):
        for values, array in zip(found, cells, strict=True):
            values.extend(array.to_pylist())
    return found


def test_a_dropped_result_is_never_read_again(database: MariaDBDatabase) -> None:
    connection = connector_of(database).connection(30)
    wire = Wire(connection)
    wire.send(f"{THOUSAND} SELECT REPEAT('x', 1000) AS a FROM k AS a, k AS b, k AS c /* dropped */")
    wire.read(1, rows=10, seconds=60)

    wire.drop()
    wire.drop()
    del wire, connection
    gc.collect()

    wait_until(
        lambda: not any("dropped" in text for text in database.server.statements()),
        "the end of the query",
        10,
    )


def test_an_error_in_the_middle_of_a_result_is_the_server_s(
    database: MariaDBDatabase, tmp_path: Path
) -> None:
    two_rows_at_last = "SELECT 1 UNION ALL SELECT 2 FROM DUAL WHERE a.i >= 500"
    query = f"{THOUSAND} SELECT a.i, ({two_rows_at_last}) AS x FROM k AS a STRAIGHT_JOIN k AS b"

    with pytest.raises(ConfigurationError, match="Subquery returns more than 1 row"):
        read(connector_of(database), query, tmp_path)

    assert list(tmp_path.iterdir()) == []
