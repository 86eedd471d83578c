from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import closing
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reporthub_dagster.connectors.base import QueryLimits
from reporthub_dagster.connectors.source_settings import SourceSettings
from reporthub_dagster.connectors.sqlite import SQLiteConnector
from reporthub_dagster.reporting.bound_query import Bind, BoundQuery
from reporthub_dagster.reporting.errors import ConfigurationError, PermanentError, TransientError
from reporthub_dagster.reporting.records import DataSource
from reporthub_dagster.storage.spool import Spool
from reporthub_dagster_tests.connectors.reading import LIMITS, column, read, types

# column → declaration, type, values as they are stored and as they must come back
TYPES: dict[str, tuple[str, str, list[tuple[Any, Any]]]] = {
    "i": ("INTEGER", "int64", [(-(2**63), -(2**63)), (2**63 - 1, 2**63 - 1)]),
    "bi": ("BIGINT UNSIGNED", "int64", [(7, 7)]),
    "r": ("REAL", "double", [(0.1, 0.1), (float("inf"), float("inf")), (5e-324, 5e-324)]),
    "dp": ("DOUBLE PRECISION", "double", [(1e308, 1e308)]),
    "t": ("TEXT", "string", [("😀\n", "😀\n"), ("", ""), ("nul\0nul", "nul\0nul")]),
    "vc": ("VARCHAR(20)", "string", [("007", "007")]),
    "bl": ("BLOB", "binary", [(b"\0\xff", b"\0\xff"), (b"", b"")]),
    "b": ("BOOLEAN", "bool", [(1, True), (0, False)]),
    "d": ("DATE", "date32[day]", [("2024-02-29", date(2024, 2, 29)), ("0001-01-01", date(1, 1, 1))]),
    "dt": (
        "DATETIME",
        "timestamp[us]",
        [
            ("2013-01-01 10:00:00.123456", datetime.fromisoformat("2013-01-01 10:00:00.123456")),
            ("2013-01-01T10:00:00", datetime.fromisoformat("2013-01-01 10:00:00")),
            ("2013-01-01", datetime.fromisoformat("2013-01-01")),
        ],
    ),
    "ts": (
        "TIMESTAMP",
        "timestamp[us]",
        [("9999-12-31 23:59:59", datetime.fromisoformat("9999-12-31 23:59:59"))],
    ),
    "tm": ("TIME", "string", [("10:00:00", "10:00:00")]),
    "m": (
        "DECIMAL(12, 2)",
        "decimal128(12, 2)",
        [(1.5, Decimal("1.50")), (-1234567890, Decimal("-1234567890.00"))],
    ),
    "n": ("NUMERIC", "decimal", [(1.25, "1.25"), (2**53 + 1, str(2**53 + 1)), (1e-7, "0.0000001")]),
    "js": ("JSON", "json", [('{"a": 1}', '{"a": 1}'), (5, "5")]),
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "data" / "shop.db"
    path.parent.mkdir()
    run(path, "CREATE TABLE nothing_here (a)")
    return path


def run(file: Path, *statements: str, many: tuple[str, list[Any]] | None = None) -> None:
    with closing(sqlite3.connect(file)) as connection, connection:
        for statement in statements:
            connection.execute(statement)
        if many:
            connection.executemany(*many)


def connector_of(file: Path | str, **options: Any) -> SQLiteConnector:
    url = file if isinstance(file, str) else f"sqlite:///{file}"
    return SQLiteConnector(DataSource(7, "shop", "sqlite", url, options))


def stored(file: Path, declaration: str, values: list[Any]) -> SQLiteConnector:
    """A table `t` whose column `v` holds these values."""
    many = ("INSERT INTO t VALUES (?)", [(value,) for value in values])
    run(file, "DROP TABLE IF EXISTS t", f"CREATE TABLE t (v {declaration})", many=many)
    return connector_of(file)


def test_every_declared_type_arrives_exactly(file: Path, tmp_path: Path) -> None:
    run(file, f"CREATE TABLE t ({', '.join(f'{name} {made[0]}' for name, made in TYPES.items())})")
    for name, (_, _, values) in TYPES.items():
        run(file, many=(f"INSERT INTO t ({name}) VALUES (?)", [(value,) for value, _ in values]))

    result, rows = read(connector_of(file), "SELECT * FROM t", tmp_path)

    assert types(result) == {name: made[1] for name, made in TYPES.items()}
    for name, (_, _, values) in TYPES.items():
        assert [value for value in column(rows, name) if value is not None] == [value for _, value in values]
    assert result.warnings == ()


def test_a_column_of_nulls_keeps_its_declared_type(file: Path, tmp_path: Path) -> None:
    run(
        file,
        f"CREATE TABLE t ({', '.join(f'{name} {made[0]}' for name, made in TYPES.items())})",
        "INSERT INTO t (i) VALUES (NULL)",
    )

    result, _ = read(connector_of(file), "SELECT t.*, NULL AS untyped FROM t", tmp_path)

    assert types(result) == {**{name: made[1] for name, made in TYPES.items()}, "untyped": "string"}


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ([1, 2], "int64", [1, 2]),
        ([1.5, None], "double", [1.5, None]),
        ([1, 1.5], "double", [1.0, 1.5]),
        ([2**53 + 1, 1.5], "decimal", ["9007199254740993", "1.5"]),
        (["a", "b"], "string", ["a", "b"]),
        ([b"a"], "binary", [b"a"]),
        ([7, "007", 1.5], "string", ["7", "007", "1.5"]),
        ([7, b"\xff"], "string", ["7", "X'ff'"]),
    ],
)
@pytest.mark.parametrize("late", [False, True], ids=["at once", "late"])
def test_columns_without_a_type_take_that_of_their_values(
    file: Path, tmp_path: Path, values: list[Any], kind: str, expected: list[Any], late: bool
) -> None:
    before = [None] * 30_000 if late else []

    result, rows = read(stored(file, "", [*before, *values]), "SELECT v FROM t", tmp_path)

    assert types(result) == {"v": kind}
    assert column(rows, "v") == [*before, *expected]


@pytest.mark.parametrize(
    ("declaration", "early", "late", "kind", "expected"),
    [
        ("BOOLEAN", 1, 2, "int64", [1, 2]),
        ("DATE", "2013-01-01", "2013-02-31", "string", ["2013-01-01", "2013-02-31"]),
        ("DATE", "2013-01-01", "0000-00-00", "string", ["2013-01-01", "0000-00-00"]),
        ("DATETIME", "2013-01-01 10:00", "2013-01-01 10:00:00+07:00", "string", None),
        ("DATETIME", "2013-01-01 10:00", "2013-01-01 10:00:00.1234567", "string", None),
        ("DATETIME", "2013-01-01 10:00", 1356998400, "string", ["2013-01-01 10:00", "1356998400"]),
        ("DECIMAL(5,2)", 1.25, 1.255, "double", [1.25, 1.255]),
        ("DECIMAL(5,2)", 1.25, 12345, "double", [1.25, 12345.0]),
        ("DECIMAL(5,2)", 1.25, 2**53 + 1, "decimal", ["1.25", "9007199254740993"]),
        ("INTEGER", 1, 1.5, "double", [1.0, 1.5]),
        ("INTEGER", 2**53 + 1, 1.5, "decimal", ["9007199254740993", "1.5"]),
        ("INTEGER", 1, "n/a", "string", ["1", "n/a"]),
        ("BLOB", b"\0", "text", "string", ["X'00'", "text"]),
        ("JSON", "{}", b"\0", "string", ["{}", "X'00'"]),
        ("REAL", 1.5, "n/a", "string", ["1.5", "n/a"]),
    ],
)
def test_a_late_value_that_does_not_fit_widens_its_column(
    file: Path, tmp_path: Path, declaration: str, early: Any, late: Any, kind: str, expected: list[Any] | None
) -> None:
    many = [early] + [None] * 30_000 + [late]

    result, rows = read(stored(file, declaration, many), "SELECT v FROM t", tmp_path)

    assert types(result) == {"v": kind}
    assert [value for value in column(rows, "v") if value is not None] == (expected or [early, late])
    assert result.row_count == 30_002
    assert result.warnings[0].startswith("column 'v' holds values of several types and is read as ")


def test_many_columns_widen_in_one_go(file: Path, tmp_path: Path) -> None:
    names = [f"c{n}" for n in range(20)]
    run(
        file,
        f"CREATE TABLE t ({', '.join(names)})",
        many=(
            f"INSERT INTO t VALUES ({', '.join('?' * 20)})",
            [(1,) * 20] * 20_000 + [("x",) * 20],
        ),
    )
    opened = []

    class Counting(SQLiteConnector):
        def open(self, *arguments: Any) -> Any:
            opened.append(1)
            return super().open(*arguments)

    read(Counting(DataSource(7, "shop", "sqlite", f"sqlite:///{file}", {})), "SELECT * FROM t", tmp_path)

    assert len(opened) == 2


_VALUES = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    st.binary(max_size=4),
    st.sampled_from(["2013-01-01", "2013-01-01 10:00:00", "1", "1.50", "{}", 0, 1]),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    declaration=st.sampled_from(
        ["", "INTEGER", "REAL", "TEXT", "BLOB", "BOOLEAN", "DATE", "DECIMAL(9,2)", "JSON"]
    ),
    values=st.lists(_VALUES, max_size=12),
)
def test_no_value_is_ever_lost(file: Path, tmp_path: Path, declaration: str, values: list[Any]) -> None:
    connector = stored(file, declaration, values)
    with closing(sqlite3.connect(file)) as connection:
        kept = [row[0] for row in connection.execute("SELECT v FROM t")]
    limits = QueryLimits(timeout_seconds=60, max_rows=100, batch_rows=2)

    result = connector.spool(BoundQuery.of(["SELECT v FROM t"]), tmp_path / "spool", limits)

    read_back = Spool.open(result.spool).head(100).column("v").to_pylist()
    assert [_same(a, b) for a, b in zip(read_back, kept, strict=True)] == [True] * len(kept)


def _same(read_back: Any, kept: Any) -> bool:
    """True when a value means what was stored, whatever type its column got."""
    forms = {read_back, str(read_back)}
    if kept is None or isinstance(kept, str):
        return kept in forms or f"{kept} 00:00:00" in forms
    if isinstance(kept, bytes):
        return bool(forms & {kept, f"X'{kept.hex()}'"})
    return read_back == kept or Decimal(read_back) == Decimal(repr(kept))


def test_values_are_compared_as_sqlite_stores_them(file: Path, tmp_path: Path) -> None:
    run(
        file,
        "CREATE TABLE t (d DATE, ts DATETIME, m DECIMAL(9,2), n INTEGER)",
        "INSERT INTO t VALUES ('2013-01-01', '2013-01-01 17:00:00', 0.1, 5)",
    )
    values = {
        "d": date(2013, 1, 1),
        "ts": datetime(2013, 1, 1, 17, tzinfo=UTC),
        "m": Decimal("0.10"),
        "n": Decimal(5),
    }
    parts: list[str | Bind] = ["SELECT d FROM t WHERE 1 = 1"]
    for name, value in values.items():
        parts += [f" AND {name} = ", Bind(name, value)]

    result = connector_of(file).spool(BoundQuery.of(parts), tmp_path / "spool", LIMITS)

    assert result.row_count == 1


def test_a_relative_path_is_read_from_the_working_folder(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)

    assert connector_of("sqlite:///shop.db").check(5).startswith("SQLite 3")
    assert connector_of(f"sqlite:///file:{file}?mode=rwc&uri=true").check(5).startswith("SQLite 3")


def test_where_an_operator_names_folders_only_files_below_them_are_opened(file: Path, tmp_path: Path) -> None:
    (tmp_path / "allowed").mkdir()
    (tmp_path / "allowed" / "link.db").symlink_to(file)
    allowed = SourceSettings(file_roots=(tmp_path / "allowed",))
    for name in (file, tmp_path / "allowed" / "link.db", tmp_path / "allowed/../data/shop.db", "/no"):
        row = DataSource(7, "shop", "sqlite", f"sqlite:///{name}", {})
        with pytest.raises(ConfigurationError, match=r"in none of the folders .* REPORTHUB_FILE_ROOTS"):
            SQLiteConnector(row, allowed).check(5)


def test_reporthubs_own_databases_are_opened_for_no_row(file: Path, tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to(file)
    for name, own in ((file, file), (tmp_path / "link.db", file), (file, file.parent)):
        row = DataSource(7, "shop", "sqlite", f"sqlite:///{name}", {})
        with pytest.raises(ConfigurationError, match="is ReportHub's own"):
            SQLiteConnector(row, SourceSettings(file_roots=(tmp_path,), own_files=(own,))).check(5)


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///:memory:", "sqlite:////no/such/file.db", "sqlite:////tmp"]
)
def test_a_file_that_is_not_there_names_the_row_and_is_not_made(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"report_datasources 7, column connection_url: there is no"):
        connector_of(url).check(5)

    assert not Path("/no/such/file.db").exists()


def test_a_file_that_is_no_database_names_the_row(tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    other.write_text("not a database " * 100)

    with pytest.raises(ConfigurationError, match=r"connection_url: the file cannot be used"):
        connector_of(other).check(5)


def test_a_file_that_somebody_writes_to_is_worth_another_try(file: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(file, isolation_level=None)) as writer:
        writer.execute("BEGIN EXCLUSIVE")

        with pytest.raises(TransientError, match="locked"):
            read(connector_of(file, connect_timeout=0.2), "SELECT * FROM nothing_here", tmp_path)


@pytest.mark.parametrize(
    "statement",
    [
        *("ATTACH '{folder}/new.db' AS other", "CREATE TEMP TABLE t (a)", "DROP TABLE nothing_here"),
        *("SELECT 1 AS a; DROP TABLE nothing_here", "VACUUM INTO '{folder}/new.db'"),
    ],
)
def test_nothing_can_be_written_or_attached(file: Path, tmp_path: Path, statement: str) -> None:
    with pytest.raises(ConfigurationError):
        read(connector_of(file), statement.format(folder=tmp_path), tmp_path)

    assert not (tmp_path / "new.db").exists()
    assert read(connector_of(file), "SELECT * FROM nothing_here", tmp_path)[1] == []


def test_text_that_is_not_utf_8_is_refused_by_name(file: Path, tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="Could not decode to UTF-8 column 'bad'") as raised:
        read(connector_of(file), "SELECT 'fine' AS good, CAST(x'73656372657420ff' AS TEXT) AS bad", tmp_path)

    assert "secret" not in str(raised.value)


def test_a_whole_number_beyond_64_bits_is_refused(file: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="too large"):
        connector_of(file).spool(
            BoundQuery.of(["SELECT ", Bind("n", 2**64), " AS n"]), tmp_path / "spool", LIMITS
        )


def test_readers_and_writers_share_a_file_in_wal_mode(file: Path, tmp_path: Path) -> None:
    run(file, "PRAGMA journal_mode = WAL", "CREATE TABLE t (v INTEGER)")
    many = ("INSERT INTO t VALUES (?)", [(n,) for n in range(50_000)])
    run(file, many=many)
    seen: list[int] = []

    def write(_: int) -> None:
        if not seen:
            run(file, "DELETE FROM t")
        seen.append(1)

    result = connector_of(file).spool(BoundQuery.of(["SELECT v FROM t"]), tmp_path / "spool", LIMITS, write)

    assert result.row_count == 50_000


def test_the_deadline_holds_outside_the_main_thread(file: Path, tmp_path: Path) -> None:
    query = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT sum(n) AS x FROM c"
    raised: list[BaseException] = []

    def work() -> None:
        try:
            connector_of(file).spool(BoundQuery.of([query]), tmp_path / "spool", QueryLimits(0.5, 10))
        except PermanentError as error:
            raised.append(error)

    started = time.monotonic()
    worker = threading.Thread(target=work)
    worker.start()
    worker.join(20)

    assert [type(error) for error in raised] == [PermanentError]
    assert time.monotonic() - started < 10
