from __future__ import annotations

import math
import threading
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import trustme

from reporthub_dagster.connectors import postgresql_socket
from reporthub_dagster.connectors.postgresql import PostgreSQLConnector
from reporthub_dagster.connectors.postgresql_blocks import BlockRows, rows_of
from reporthub_dagster.connectors.postgresql_wire import CellRows
from reporthub_dagster.reporting.bound_query import Bind, BoundQuery
from reporthub_dagster.reporting.errors import ConfigurationError, PermanentError, TransientError
from reporthub_dagster.reporting.records import DataSource
from reporthub_dagster.storage.spool import Spool
from reporthub_dagster_tests.connectors.reading import LIMITS, column, read, types
from reporthub_dagster_tests.servers.mariadb import PASSWORD
from reporthub_dagster_tests.servers.postgresql import PostgreSQLDatabase
from reporthub_dagster_tests.servers.process import wait_until

_LONG = f"{'9' * 60}.{'1' * 50}"

# column → declaration, type, literals and the values they must come back as
TYPES: dict[str, tuple[str, str, list[tuple[str, Any]]]] = {
    "b": ("bool", "bool", [("true", True), ("false", False)]),
    "i2": ("int2", "int16", [("-32768", -32768), ("32767", 32767)]),
    "i4": ("int4", "int32", [("-2147483648", -(2**31)), ("2147483647", 2**31 - 1)]),
    "i8": ("int8", "int64", [("-9223372036854775808", -(2**63)), ("9223372036854775807", 2**63 - 1)]),
    "ser": ("serial", "int32", []),
    "o": ("oid", "uint32", [("4294967295", 2**32 - 1)]),
    "f4": ("float4", "double", [("0.1", 0.1), ("'-Infinity'", -math.inf), ("16777217", 16777216.0)]),
    "f8": (
        "float8",
        "double",
        [("0.1", 0.1), ("1e308", 1e308), ("'Infinity'", math.inf), ("5e-324", 5e-324)],
    ),
    "n": (
        "numeric",
        "decimal",
        [(_LONG, _LONG), ("'NaN'", "NaN"), ("'-Infinity'", "-Infinity"), ("1.50", "1.50")],
    ),
    "n2": ("numeric(12,2)", "decimal128(12, 2)", [("-1234567890.10", Decimal("-1234567890.10"))]),
    "n0": ("numeric(38)", "decimal128(38, 0)", [("9" * 38, Decimal("9" * 38))]),
    "n76": (
        "numeric(76,30)",
        "decimal256(76, 30)",
        [(f"-{'9' * 46}.{'9' * 30}", Decimal(f"-{'9' * 46}.{'9' * 30}"))],
    ),
    "n77": ("numeric(77,2)", "decimal", [("1.5", "1.50")]),
    "nup": ("numeric(3,-2)", "decimal", [("12345", "12300")]),
    "nsm": ("numeric(3,5)", "decimal", [("0.00123", "0.00123")]),
    "d": ("date", "date32[day]", [("'0001-01-01'", date(1, 1, 1)), ("'9999-12-31'", date(9999, 12, 31))]),
    "t": ("time", "time64[us]", [("'23:59:59.999999'", time(23, 59, 59, 999999)), ("'00:00'", time(0))]),
    "tz": ("timetz", "string", [("'10:00+07'", "10:00:00+07")]),
    "ts": (
        "timestamp",
        "timestamp[us]",
        [
            ("'9999-12-31 23:59:59.999999'", datetime.fromisoformat("9999-12-31 23:59:59.999999")),
            ("'2013-01-01 01:02:03.5'", datetime.fromisoformat("2013-01-01 01:02:03.500000")),
        ],
    ),
    "tstz": (
        "timestamptz",
        "timestamp[us, tz=UTC]",
        [("'2013-01-01 01:02:03.5+07'", datetime(2012, 12, 31, 18, 2, 3, 500000, tzinfo=UTC))],
    ),
    "iv": ("interval", "string", [("'1 year 2 days -3:00'", "1 year 2 days -03:00:00")]),
    "u": (
        "uuid",
        "string",
        [("'123e4567-e89b-12d3-a456-426614174000'", "123e4567-e89b-12d3-a456-426614174000")],
    ),
    "j": ("json", "json", [("""'{"a":  "😀"}'""", '{"a":  "😀"}')]),
    "jb": ("jsonb", "json", [("""'{"a":  1.50}'""", '{"a": 1.50}')]),
    "by": ("bytea", "binary", [(r"'\x00ff27'", b"\0\xff'"), ("''", b"")]),
    "arr": ("int[]", "string", [("'{1,NULL,3}'", "{1,NULL,3}")]),
    "rng": ("int4range", "string", [("'[1,5)'", "[1,5)")]),
    "mood": ("mood", "string", [("'fair 😀'", "fair 😀")]),
    "pair": ("pair", "string", [("row(1, 'x y')", '(1,"x y")'), ("row(NULL, NULL)", "(,)")]),
    "dom": ("price", "decimal128(8, 2)", [("1.5", Decimal("1.50"))]),
    "mo": ("money", "string", [("12.5", "$12.50")]),
    "nm": ("name", "string", [("'nm'", "nm")]),
    "ch": ('"char"', "string", [("'c'", "c")]),
    "c5": ("char(5)", "string", [("'ab'", "ab   ")]),
    "vc": ("varchar(9)", "string", [("'é'", "é"), ("''", "")]),
    "tx": ("text", "string", [("'😀\n'", "😀\n")]),
    "bt": ("bit(3)", "string", [("b'101'", "101")]),
    "ip": ("inet", "string", [("'10.0.0.1/8'", "10.0.0.1/8"), ("'10.0.0.1'", "10.0.0.1")]),
}


@pytest.fixture
def database(postgresql_database: PostgreSQLDatabase) -> PostgreSQLDatabase:
    return postgresql_database


@pytest.fixture
def typed(database: PostgreSQLDatabase) -> PostgreSQLDatabase:
    """A database with a table `t` of every type."""
    database.execute(
        "CREATE TYPE mood AS ENUM ('sad', 'fair 😀')",
        "CREATE TYPE pair AS (a int, b text)",
        "CREATE DOMAIN price AS numeric(8,2)",
        f"CREATE TABLE t ({', '.join(f'{name} {made[0]}' for name, made in TYPES.items())})",
    )
    return database


def connector_of(database: PostgreSQLDatabase, url: str = "", **options: Any) -> PostgreSQLConnector:
    return PostgreSQLConnector(DataSource(7, "shop", "postgresql", url or database.url, options))


def test_every_type_arrives_exactly(typed: PostgreSQLDatabase, tmp_path: Path) -> None:
    for name, (_, _, values) in TYPES.items():
        for literal, _ in values:
            typed.execute(f"INSERT INTO t ({name}) VALUES ({literal})")

    result, rows = read(connector_of(typed), "SELECT * FROM t", tmp_path)

    assert types(result) == {name: made[1] for name, made in TYPES.items()}
    for name, (_, _, values) in TYPES.items():
        if values:
            assert [cell for cell in column(rows, name) if cell is not None] == [value for _, value in values]
    assert result.warnings == ()


def test_a_column_of_nulls_keeps_its_declared_type(typed: PostgreSQLDatabase, tmp_path: Path) -> None:
    typed.execute("INSERT INTO t (ser) VALUES (1)")

    result, rows = read(connector_of(typed), "SELECT *, NULL AS untyped FROM t", tmp_path)

    assert types(result) == {**{name: made[1] for name, made in TYPES.items()}, "untyped": "string"}
    assert {value for name, value in rows[0].items() if name != "ser"} == {None}


def test_dates_that_no_calendar_file_can_hold_are_null_and_counted(
    database: PostgreSQLDatabase, tmp_path: Path
) -> None:
    query = (
        "SELECT v::date AS d, v::timestamp AS ts, v::timestamptz AS tz FROM unnest(ARRAY["
        "'infinity', '-infinity', '0044-03-15 BC', '10000-01-01', '2013-01-01', NULL]) AS v"
    )

    result, rows = read(connector_of(database, time_zone="UTC"), query, tmp_path)

    assert column(rows, "d") == [None] * 4 + [date(2013, 1, 1), None]
    assert column(rows, "ts") == [None] * 4 + [datetime.fromisoformat("2013-01-01"), None]
    assert column(rows, "tz") == [None] * 4 + [datetime(2013, 1, 1, tzinfo=UTC), None]
    assert result.warnings == tuple(
        f"column '{name}': 4 values that are no date of the years 1 to 9999 are empty"
        for name in ("d", "ts", "tz")
    )


def test_instants_at_the_edges_and_before_standard_time_are_right(
    database: PostgreSQLDatabase, tmp_path: Path
) -> None:
    query = (
        "SELECT v::timestamptz AS tz FROM unnest(ARRAY["
        "'1800-01-01 00:00:00', '9999-12-31 23:59:59-12', '2013-07-01 00:00:00+00']) AS v"
    )

    _, rows = read(connector_of(database, time_zone="Asia/Jakarta"), query, tmp_path)

    assert column(rows, "tz") == [
        datetime(1799, 12, 31, 16, 52, 48, tzinfo=UTC),
        None,
        datetime(2013, 7, 1, tzinfo=UTC),
    ]


def test_a_value_that_its_type_cannot_hold_makes_the_column_text(
    database: PostgreSQLDatabase, tmp_path: Path
) -> None:
    database.execute(
        "CREATE TABLE t (n numeric(10,2), t time)",
        "INSERT INTO t SELECT g, '10:00' FROM generate_series(1, 25000) AS g",
        "INSERT INTO t VALUES ('NaN', '24:00:00')",
    )

    result, rows = read(connector_of(database), "SELECT * FROM t", tmp_path)

    assert types(result) == {"n": "decimal", "t": "string"}
    assert rows[0] == {"n": "1.00", "t": "10:00:00"}
    assert rows[-1] == {"n": "NaN", "t": "24:00:00"}
    assert result.row_count == 25_001
    assert result.warnings == (
        "column 'n' is text: it holds values that its declared type, decimal128(10, 2), cannot hold",
        "column 't' is text: it holds values that its declared type, time64[us], cannot hold",
    )


def test_text_that_is_not_utf_8_is_refused(database: PostgreSQLDatabase, tmp_path: Path) -> None:
    raw = f"{database.name}_raw"
    database.execute(
        f"CREATE DATABASE {raw} ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    )
    try:
        database.server.execute(
            "SET client_encoding = 'SQL_ASCII'", "CREATE TABLE t AS SELECT chr(255) AS bad", database=raw
        )

        with pytest.raises(ConfigurationError, match="invalid byte sequence"):
            read(connector_of(database, database.server.url(raw)), "SELECT bad FROM t", tmp_path)
    finally:
        database.execute(f"DROP DATABASE {raw} WITH (FORCE)")


@pytest.mark.parametrize(
    "scheme", ["postgres", "postgresql", "postgresql+psycopg2", "postgresql+psycopg", "postgresql+asyncpg"]
)
def test_urls_of_existing_rows_reach_the_server(database: PostgreSQLDatabase, scheme: str) -> None:
    url = database.server.url(database.name, scheme=scheme)

    assert connector_of(database, f"{url}?sslmode=require&application_name=old").check(5)


def test_options_of_old_rows_are_accepted_without_a_warning(
    database: PostgreSQLDatabase, tmp_path: Path
) -> None:
    connector = connector_of(
        database,
        pool_size=5,
        connect_timeout="5",
        read_timeout=60,
        write_timeout=60,
        charset="utf8",
        ssl_ca=None,
        options="-c search_path=pg_catalog",
    )

    _, rows = read(connector, "SELECT current_setting('search_path') AS path", tmp_path)

    assert connector.warnings == ()
    assert rows == [{"path": "pg_catalog"}]


@pytest.mark.parametrize("names", [("ssl_ca", "sslmode"), ("sslrootcert", "sslmode")])
def test_a_server_is_verified_with_the_given_authority(
    database: PostgreSQLDatabase, tmp_path: Path, names: tuple[str, str]
) -> None:
    wrong = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(wrong)

    def connector(authority: Path) -> PostgreSQLConnector:
        mode = {} if names[0] == "ssl_ca" else {"sslmode": "verify-full"}
        return connector_of(database, **{names[0]: str(authority)}, **mode)

    assert connector(database.server.home / "ca.pem").check(5)
    with pytest.raises(ConfigurationError, match=r"column connection_config: .*certificate verify failed"):
        connector(wrong).check(5)
    with pytest.raises(ConfigurationError, match=r"column connection_config: .*does not exist"):
        connector(tmp_path / "missing.pem").check(5)


def test_an_unknown_time_zone_names_the_column(database: PostgreSQLDatabase, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="column connection_config: time_zone is not usable"):
        read(connector_of(database, time_zone="Mars/Olympus"), "SELECT 1 AS a", tmp_path)


def test_settings_of_the_database_do_not_change_values(database: PostgreSQLDatabase, tmp_path: Path) -> None:
    for setting in (
        "datestyle = 'German, DMY'",
        "bytea_output = 'escape'",
        "extra_float_digits = -15",
        "default_transaction_read_only = on",
    ):
        database.execute(f"ALTER DATABASE {database.name} SET {setting}")
    query = r"SELECT '02.03.2013'::date AS d, '\x00ff'::bytea AS b, 0.1::float8 + 0.2::float8 AS f"

    _, rows = read(connector_of(database), query, tmp_path)

    assert rows == [{"d": date(2013, 3, 2), "b": b"\0\xff", "f": 0.30000000000000004}]


def test_values_whose_type_the_statement_does_not_tell_go_as_text(
    database: PostgreSQLDatabase, tmp_path: Path
) -> None:
    parts: list[str | Bind] = [
        "SELECT concat(",
        Bind("a", "x"),
        ", '-', ",
        Bind("b", "y"),
        ") AS both WHERE ",
    ]
    parts += [Bind("a", "x"), " IS NOT NULL AND ", Bind("c", None), " IS NULL"]
    query = BoundQuery.of(parts)

    result = connector_of(database).spool(query, tmp_path / "spool", LIMITS)

    assert Spool.open(result.spool).head(1).to_pylist() == [{"both": "x-y"}]


def test_a_value_that_no_text_can_hold_is_refused(database: PostgreSQLDatabase, tmp_path: Path) -> None:
    query = BoundQuery.of(["SELECT 1 AS a WHERE ", Bind("a", "nul \0"), " = 'x'"])

    with pytest.raises(ConfigurationError, match="NUL"):
        connector_of(database).spool(query, tmp_path / "spool", LIMITS)


def test_a_value_that_is_grouped_by_is_the_one_that_is_selected(
    database: PostgreSQLDatabase, tmp_path: Path
) -> None:
    day: list[str | Bind] = ["to_char(d, ", Bind("pattern", "YYYY-MM"), ")"]
    query = BoundQuery.of(
        ["SELECT ", *day, " AS month, count(*) AS n FROM (VALUES (DATE '2025-01-01')) v(d) GROUP BY ", *day]
    )

    result = connector_of(database).spool(query, tmp_path / "spool", LIMITS)

    assert Spool.open(result.spool).head(1).to_pylist() == [{"month": "2025-01", "n": 1}]


def test_a_query_may_run_in_parallel(database: PostgreSQLDatabase, tmp_path: Path) -> None:
    for setting in (
        "parallel_setup_cost = 0",
        "parallel_tuple_cost = 0",
        "min_parallel_table_scan_size = 0",
        "parallel_leader_participation = off",
    ):
        database.execute(f"ALTER DATABASE {database.name} SET {setting}")
    database.execute(
        "CREATE TABLE t AS SELECT g AS a FROM generate_series(1, 1000) AS g",
        "ANALYZE t",
        "CREATE FUNCTION process(int) RETURNS text LANGUAGE sql PARALLEL SAFE COST 10000 AS "
        "'SELECT backend_type FROM pg_stat_activity WHERE pid = pg_backend_pid()'",
    )

    counts = "SELECT process(a) AS process, count(*) AS n FROM t GROUP BY 1"
    # A server whose workers are all taken does without: it may have some the next time.
    tries = (read(connector_of(database), counts, tmp_path)[1] for _ in range(20))

    assert [{"process": "parallel worker", "n": 1000}] in tries


def test_a_missing_right_names_the_row(database: PostgreSQLDatabase, tmp_path: Path) -> None:
    role = f"poor_{database.name}"
    database.execute("CREATE TABLE t (a int)", f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'")
    url = database.url.replace("reporthub:", f"{role}:")
    try:
        with pytest.raises(ConfigurationError, match=r"column connection_url: a right is missing: .*SELECT"):
            read(connector_of(database, url), "SELECT * FROM t", tmp_path)
        assert connector_of(database, url).writes(5) == ""
        database.execute(f"GRANT INSERT ON t TO {role}")
        assert connector_of(database, url).writes(5) == "t"
    finally:
        database.execute(f"DROP OWNED BY {role}", f"DROP ROLE {role}")


def test_too_many_connections_are_worth_another_try(database: PostgreSQLDatabase) -> None:
    role = f"lonely_{database.name}"
    database.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}' CONNECTION LIMIT 0")
    try:
        with pytest.raises(TransientError, match="too many connections"):
            connector_of(database, database.url.replace("reporthub:", f"{role}:")).check(5)
    finally:
        database.execute(f"DROP ROLE {role}")


@pytest.mark.parametrize(
    ("function", "expected", "words"),
    [
        ("pg_cancel_backend", PermanentError, "somebody stopped the query"),
        ("pg_terminate_backend", TransientError, "could not finish the query now"),
    ],
)
def test_a_query_that_an_administrator_ends(
    database: PostgreSQLDatabase, tmp_path: Path, function: str, expected: type[Exception], words: str
) -> None:
    def end() -> None:
        wait_until(lambda: any("end me" in text for text in database.server.statements()), "the query")
        database.execute(
            f"SELECT {function}(pid) FROM pg_stat_activity "
            "WHERE query LIKE '%end me%' AND pid <> pg_backend_pid()"
        )

    ender = threading.Thread(target=end)
    ender.start()

    with pytest.raises(expected, match=words):
        read(connector_of(database), "SELECT pg_sleep(60) AS a /* end me */", tmp_path)

    ender.join()


def test_an_error_in_the_middle_of_a_result_is_the_server_s(
    database: PostgreSQLDatabase, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match="division by zero"):
        read(
            connector_of(database),
            "SELECT 1 / (g - 20000) AS a FROM generate_series(1, 30000) AS g",
            tmp_path,
        )

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", ["disable", "require"])
def test_the_functions_that_reading_past_libpq_takes_are_there(
    database: PostgreSQLDatabase, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    with connector_of(database, sslmode=mode).connection(5) as connection:
        assert isinstance(rows_of(connection, 5), BlockRows)
        monkeypatch.setattr(postgresql_socket, "_library", lambda: None)
        assert isinstance(rows_of(connection, 5), CellRows)


def test_wide_rows_come_in_small_batches(database: PostgreSQLDatabase, tmp_path: Path) -> None:
    query = "SELECT repeat('x', 100000) AS a FROM generate_series(1, 2000)"

    result = connector_of(database).spool(BoundQuery.of([query]), tmp_path / "spool", LIMITS)

    sizes = [batch.num_rows for batch in Spool.open(result.spool).batches()]
    assert sum(sizes) == 2000
    assert max(sizes) <= 1000
