"""What is peculiar to SQL Server; against a stand-in that speaks TDS 7.4 on the wire and DuckDB behind it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from datetime import time as clock
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import mssql_python
import pytest

from reporthub_dagster.connectors.base import QueryLimits
from reporthub_dagster.connectors.sqlserver import SQLServerConnector
from reporthub_dagster.connectors.sqlserver_values import call_of
from reporthub_dagster.reporting.bound_query import Bind, BoundQuery
from reporthub_dagster.reporting.errors import (
    ConfigurationError,
    PermanentError,
    ReportHubError,
    TransientError,
)
from reporthub_dagster.reporting.records import DataSource
from reporthub_dagster_tests.connectors.reading import LIMITS, read, types
from reporthub_dagster_tests.servers.process import wait_until
from reporthub_dagster_tests.servers.sqlserver import READER, SQLServerDatabase

_at = datetime.fromisoformat
_GUID = "0E984725-C51C-4BF4-9960-E1C80E27ABA0"
_MOST = "12345678901234567890123456789012345678"
# column → type, value, type of the column, value as it must come back
TYPES: dict[str, tuple[str, Any, str, Any]] = {
    "ti": ("tinyint", 255, "uint8", 255),
    "si": ("smallint", -32768, "int16", -32768),
    "i": ("int", -(2**31), "int32", -(2**31)),
    "bi": ("bigint", -(2**63), "int64", -(2**63)),
    "bit": ("bit", True, "bool", True),
    "r": ("real", 0.1, "double", 0.1),
    "f": ("float", 5e-324, "double", 5e-324),
    "m": ("money", Decimal("-922337203685477.5808"), "decimal128(19, 4)", Decimal("-922337203685477.5808")),
    "sm": ("smallmoney", Decimal("214748.3647"), "decimal128(10, 4)", Decimal("214748.3647")),
    "d0": ("decimal(38,0)", Decimal(_MOST), "decimal128(38, 0)", Decimal(_MOST)),
    "d38": ("decimal(38,38)", Decimal(f"-0.{_MOST}"), "decimal128(38, 38)", Decimal(f"-0.{_MOST}")),
    "dt": ("datetime", "1753-01-01 12:00:00.003", "timestamp[us]", _at("1753-01-01T12:00:00.003")),
    "sdt": ("smalldatetime", "2079-06-06 23:59:00", "timestamp[us]", _at("2079-06-06T23:59")),
    "day": ("date", "9999-12-31", "date32[day]", date(9999, 12, 31)),
    "t0": ("time(0)", "23:59:59", "time64[us]", clock(23, 59, 59)),
    "t7": ("time(7)", "23:59:59.9999990", "time64[us]", clock(23, 59, 59, 999999)),
    "at": ("datetime2(3)", "0001-01-01 00:00:00.123", "timestamp[us]", _at("0001-01-01T00:00:00.123")),
    "at7": (
        "datetime2(7)",
        "9999-12-31 23:59:59.9999990",
        "timestamp[us]",
        _at("9999-12-31T23:59:59.999999"),
    ),
    "o3": (
        "datetimeoffset(3)",
        "2024-02-29 12:00:00.123 -03:30",
        "timestamp[us, tz=UTC]",
        datetime(2024, 2, 29, 15, 30, 0, 123000, UTC),
    ),
    "o7": (
        "datetimeoffset(7)",
        "2024-02-29 12:00:00.1234560 +07:00",
        "timestamp[us, tz=UTC]",
        datetime(2024, 2, 29, 5, 0, 0, 123456, UTC),
    ),
    "u": ("uniqueidentifier", _GUID, "string", _GUID),
    "b": ("binary(4)", b"\0ab\xff", "binary", b"\0ab\xff"),
    "nc": ("nchar(4)", "é😀 ", "string", "é😀 "),
    "vc": ("varchar(10)", "é", "string", "é"),
    "max": ("nvarchar(max)", "😀" * 5000, "string", "😀" * 5000),
    "x": ("xml", "<a>é</a>", "string", "<a>é</a>"),
}
_ENDLESS = {"vb": ("varbinary(max)", b"\0" * 70_000, "binary"), "h": ("hierarchyid", b"\x58", "binary")}


def connector_of(database: SQLServerDatabase, **options: Any) -> SQLServerConnector:
    return SQLServerConnector(DataSource(7, "shop", "sqlserver", database.url, options))


def _read(
    database: SQLServerDatabase, folder: Path, columns: Sequence[tuple[str, str]], *rows: tuple[Any, ...]
) -> Any:
    database.server.put("typed", columns, rows)
    return read(connector_of(database), "SELECT * FROM typed", folder)


def test_every_type_arrives_exactly(sqlserver_database: SQLServerDatabase, tmp_path: Path) -> None:
    columns = [(name, made[0]) for name, made in TYPES.items()]
    values = tuple(made[1] for made in TYPES.values())

    result, rows = _read(sqlserver_database, tmp_path, columns, values, (None,) * len(values))

    assert types(result) == {name: made[2] for name, made in TYPES.items()}
    assert rows[0] == {name: made[3] for name, made in TYPES.items()}
    assert set(rows[1].values()) == {None}
    assert result.warnings == ()


def test_bytes_of_any_length_arrive_beside_every_type(
    sqlserver_database: SQLServerDatabase, tmp_path: Path
) -> None:
    columns = [(name, made[0]) for name, made in (TYPES | _ENDLESS).items()]
    values = tuple(made[1] for made in (TYPES | _ENDLESS).values())

    result, rows = _read(sqlserver_database, tmp_path, columns, (None,) * len(values), values)

    assert types(result) == {name: made[2] for name, made in (TYPES | _ENDLESS).items()}
    assert rows[1] == {name: made[3] for name, made in TYPES.items()} | {
        name: made[1] for name, made in _ENDLESS.items()
    }


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("datetime2(7)", "2024-02-29 12:00:00.1234567"),
        ("time(7)", "12:00:00.1234567"),
        ("datetimeoffset(7)", "2024-02-29 12:00:00.1234567 +07:00"),
    ],
)
def test_a_moment_finer_than_microseconds_stays_whole(
    sqlserver_database: SQLServerDatabase, tmp_path: Path, kind: str, value: str
) -> None:
    rounder = value.replace("4567", "4560")

    result, rows = _read(sqlserver_database, tmp_path, [("at", kind)], *[(rounder,)] * 2000, (value,))

    assert types(result) == {"at": "string"}
    assert [rows[0]["at"], rows[-1]["at"]] == [rounder, value]
    assert result.warnings == ("column 'at' is text: it holds moments finer than microseconds",)


def test_a_variant_is_refused_by_name(sqlserver_database: SQLServerDatabase, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"column 'v' is a sql_variant.*CAST\(\[v\] AS nvarchar"):
        _read(sqlserver_database, tmp_path, [("v", "sql_variant")], (5,))


@pytest.mark.parametrize(
    "value",
    [
        *(2**63 - 1, 2**63, -5, 0.1, True, Decimal("-0.001"), Decimal("1E+3"), Decimal(_MOST), None),
        *(date(1900, 1, 1), _at("2024-02-29T23:59:59.999999"), clock(23, 59, 59, 999999)),
        *(UUID(_GUID), b"\0\xff", "", "it's", "😀 é", "x" * 3999),
        datetime(2024, 2, 29, 1, tzinfo=timezone(timedelta(hours=7))),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_values_of_every_python_type_come_back(
    sqlserver_database: SQLServerDatabase, tmp_path: Path, value: Any
) -> None:
    query = BoundQuery.of(["SELECT ", Bind("v", value), " AS v"])

    _, (row,) = read(connector_of(sqlserver_database), query, tmp_path)

    assert row["v"] == (str(value).lower() if isinstance(value, UUID) else value)


def test_a_value_has_one_name_and_a_declared_type() -> None:
    x = Bind("x", "é")
    query = BoundQuery.of(
        ["SELECT f(d, ", x, ") FROM t WHERE n = ", Bind("n", None), " GROUP BY f(d, ", x, ")"]
    )

    call = call_of(query)

    assert call.text == "SELECT f(d, @p1) FROM t WHERE n = @p2 GROUP BY f(d, @p1)"
    assert call.declared == "@p1 nvarchar(4000), @p2 nvarchar(4000)"
    assert (call.places, call.values) == ("?, ?, ?, NULL", (call.text, call.declared, "é"))


@pytest.mark.parametrize("value", [Decimal("NaN"), Decimal(f"{_MOST}9"), 10**38, object()])
def test_a_value_that_sql_server_cannot_hold_is_told_by_name(value: Any) -> None:
    with pytest.raises(PermanentError, match="the value of limit"):
        call_of(BoundQuery.of([Bind("limit", value)]))


def test_what_fails_after_the_first_rows_is_told_in_the_servers_words(
    sqlserver_database: SQLServerDatabase, tmp_path: Path
) -> None:
    query = "SELECT CASE range WHEN 50001 THEN error('too far') ELSE range END AS n FROM range(100000)"

    with pytest.raises(ConfigurationError, match=r"the database refused the query: .*too far"):
        read(connector_of(sqlserver_database), query, tmp_path)


def test_a_connection_that_is_lost_between_rows_is_no_end(
    sqlserver_database: SQLServerDatabase, tmp_path: Path
) -> None:
    stream = connector_of(sqlserver_database).open(
        BoundQuery.of(["SELECT range AS n FROM range(10000000)"]), LIMITS
    )
    batches = stream.batches()
    next(batches)
    sqlserver_database.server.kill()

    with pytest.raises(TransientError, match="connection to the database was lost"):
        list(batches)

    stream.abort()


def test_a_query_is_stopped_from_another_thread(
    sqlserver_database: SQLServerDatabase, tmp_path: Path
) -> None:
    connector = connector_of(sqlserver_database)
    slow = "SELECT sum(a.range * b.range % 7) AS x FROM range(10000000) AS a, range(10000000) AS b"

    def stop() -> None:
        wait_until(
            lambda: any("10000000" in one for one in sqlserver_database.server.statements()), "the query"
        )
        connector.stop()

    stopper = threading.Thread(target=stop)
    stopper.start()
    with pytest.raises(TransientError, match="the query was stopped"):
        read(connector, slow, tmp_path)
    stopper.join()

    wait_until(lambda: not sqlserver_database.server.statements(), "the end of the query", seconds=10)


def test_a_server_that_is_silent_is_left_at_the_deadline() -> None:
    begun = time.monotonic()

    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"mssql://u:p@127.0.0.1:{silent.getsockname()[1]}/d"
        with pytest.raises(TransientError, match="cannot be reached"):
            SQLServerConnector(DataSource(7, "s", "sqlserver", url, {})).check(1)

    assert time.monotonic() - begun < 5


def test_a_reader_holds_no_right_to_write(sqlserver_database: SQLServerDatabase) -> None:
    reader = DataSource(
        7, "shop", "sqlserver", sqlserver_database.server.url(sqlserver_database.name, READER), {}
    )

    assert SQLServerConnector(reader).writes(5) == ""


def test_the_row_says_how_to_connect(sqlserver_database: SQLServerDatabase) -> None:
    url = sqlserver_database.url.partition("?")[0].replace("mssql://", "mssql+pymssql://")
    options = {"Trust Server Certificate": True, "encrypt": "disable", "ApplicationIntent": "ReadOnly"}

    assert SQLServerConnector(DataSource(7, "shop", "sqlserver", url, options)).check(5)

    login = sqlserver_database.server.logins()[-1]
    assert (login.read_only, login.database) == (True, sqlserver_database.name)


def test_a_server_without_tls_is_not_asked_in_the_clear_unless_the_row_says_so(
    sqlserver_database: SQLServerDatabase,
) -> None:
    url = sqlserver_database.url.partition("?")[0]

    with pytest.raises(ConfigurationError, match="connection_config: no trusted TLS connection"):
        SQLServerConnector(DataSource(7, "shop", "sqlserver", url, {})).check(3)


@pytest.mark.parametrize(
    ("url", "options", "expected"),
    [
        ("mssql://h/d", {}, {"Encrypt": "yes", "TrustServerCertificate": "yes"}),
        (
            "sqlserver://h?database=d&encrypt=true&TrustServerCertificate=false",
            {},
            {"TrustServerCertificate": "no"},
        ),
        ("mssql://h/d", {"hostNameInCertificate": "db.example"}, {"TrustServerCertificate": "no"}),
        (
            "mssql://h/d",
            {"ssl_ca": "/ca.pem"},
            {"ServerCertificate": "/ca.pem", "TrustServerCertificate": "no"},
        ),
        ("mssql://h/d", {"encrypt": "strict"}, {"Encrypt": "strict"}),
    ],
)
def test_a_certificate_is_verified_where_the_row_gives_one(
    url: str, options: dict[str, Any], expected: dict[str, str]
) -> None:
    connector = SQLServerConnector(DataSource(7, "s", "sqlserver", url, options))

    keywords = connector._options.keywords()  # noqa: SLF001 - what it gives the driver

    assert {key: keywords.get(key) for key in expected} == expected


@pytest.mark.parametrize(
    ("driver_error", "words", "kind", "expected"),
    [
        ("Syntax error", "SELECT permission was denied on 't'.", ConfigurationError, "a right is missing"),
        ("Serialization failure", "Transaction was deadlocked", TransientError, "could not finish"),
        ("Timeout expired", "Lock request time out period exceeded.", TransientError, "could not finish"),
        ("Timeout expired", "Query timeout expired", PermanentError, "timeout_seconds"),
        ("General error", "the session is in the kill state.", PermanentError, "somebody stopped"),
        ("Client unable to establish connection", "SSL Provider: no", ConfigurationError, "TLS"),
        ("Specified driver could not be loaded", "libltdl.so.7: cannot open", ConfigurationError, "libltdl7"),
    ],
)  # fmt: skip
def test_what_the_server_answers_says_what_to_do(
    driver_error: str, words: str, kind: type[ReportHubError], expected: str
) -> None:
    connector = SQLServerConnector(DataSource(7, "s", "sqlserver", "mssql://u:p@h/d", {}))
    error = mssql_python.OperationalError(driver_error, f"[Microsoft][ODBC Driver][SQL Server]{words}")

    told = connector.explain(error, QueryLimits(5, 5))

    assert type(told) is kind
    assert expected in str(told)
    assert "[Microsoft]" not in str(told)
