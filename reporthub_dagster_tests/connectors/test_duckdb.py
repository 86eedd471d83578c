"""What is peculiar to DuckDB: its types, and the doors that it must not open."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from reporthub_dagster.connectors.base import QueryLimits
from reporthub_dagster.connectors.duckdb import DuckDBConnector
from reporthub_dagster.connectors.source_settings import SourceSettings
from reporthub_dagster.reporting.bound_query import BoundQuery
from reporthub_dagster.reporting.errors import ConfigurationError, TransientError
from reporthub_dagster.reporting.records import DataSource
from reporthub_dagster_tests.connectors.reading import read, types


@pytest.fixture
def file(tmp_path: Path) -> Path:
    with duckdb.connect(tmp_path / "shop.duckdb") as database:
        database.execute("CREATE TABLE kept AS SELECT 1 AS id")
    return tmp_path / "shop.duckdb"


def connector(file: Path, **options: object) -> DuckDBConnector:
    return DuckDBConnector(DataSource(1, "shop", "duckdb", f"duckdb:///{file}", options))


def test_where_an_operator_names_folders_only_files_below_them_are_opened(file: Path, tmp_path: Path) -> None:
    (tmp_path / "allowed").mkdir()
    row = DataSource(1, "shop", "duckdb", f"duckdb:///{file}", {})
    with pytest.raises(ConfigurationError, match=r"in none of the folders .* REPORTHUB_FILE_ROOTS"):
        DuckDBConnector(row, SourceSettings(file_roots=(tmp_path / "allowed",))).check(5)


@pytest.mark.parametrize(
    ("sql", "kind", "value"),
    [
        (
            "170141183460469231731687303715884105727::HUGEINT",
            "decimal",
            "170141183460469231731687303715884105727",
        ),
        (
            "340282366920938463463374607431768211455::UHUGEINT",
            "decimal",
            "340282366920938463463374607431768211455",
        ),
        ("sum(id)", "decimal", "1"),
        ("18446744073709551615::UBIGINT", "uint64", 18446744073709551615),
        (
            "999999999999999999999999999999999999.99::DECIMAL(38,2)",
            "decimal128(38, 2)",
            Decimal("999999999999999999999999999999999999.99"),
        ),
        ("0.1::FLOAT", "double", 0.1),
        (
            "TIMESTAMP_NS '2025-01-31 08:00:00.123456000'",
            "timestamp[us]",
            datetime.fromisoformat("2025-01-31 08:00:00.123456"),
        ),
        ("TIMESTAMP_NS '2025-01-31 08:00:00.123456789'", "string", "2025-01-31 08:00:00.123456789"),
        ("TIMESTAMP_S '2025-01-31 08:00:00'", "timestamp[us]", datetime.fromisoformat("2025-01-31 08:00:00")),
        (
            "TIMESTAMPTZ '2025-01-31 08:00:00+07'",
            "timestamp[us, tz=UTC]",
            datetime(2025, 1, 31, 1, tzinfo=UTC),
        ),
        ("TIMESTAMP 'infinity'", "string", "infinity"),
        ("DATE '9999-12-31'", "date32[day]", date(9999, 12, 31)),
        ("DATE '10000-01-01'", "string", "10000-01-01"),
        ("DATE '0044-03-15 (BC)'", "string", "0044-03-15 (BC)"),
        ("TIME '23:59:59.999999'", "time64[us]", time(23, 59, 59, 999999)),
        ("TIME '24:00:00'", "string", "24:00:00"),
        ("TIMETZ '08:00:00+07'", "string", "08:00:00+07"),
        ("INTERVAL '1 month 3 days 02:00'", "string", "1 month 3 days 02:00:00"),
        ("UUID '6ec0bd7f-11c0-43da-975e-2a8ad9ebae0b'", "string", "6ec0bd7f-11c0-43da-975e-2a8ad9ebae0b"),
        ("'b'::ENUM('a', 'b')", "string", "b"),
        ("'0101'::BIT", "string", "0101"),
        ("'\\xAA'::BLOB", "binary", b"\xaa"),
        ("[1, NULL, 3]", "json", "[1,null,3]"),
        (
            "{'a': 12345678901234567890.12::DECIMAL(38,2), 'b': ['é']}",
            "json",
            '{"a":12345678901234567890.12,"b":["é"]}',
        ),
        ("MAP {'k': 1}", "json", '{"k":1}'),
        ("""'{"a": 1.10}'::JSON""", "json", '{"a": 1.10}'),
        ("NULL", "string", None),
    ],
)
def test_every_type_is_exact(file: Path, tmp_path: Path, sql: str, kind: str, value: object) -> None:
    result, rows = read(connector(file), f"SELECT {sql} AS v FROM kept", tmp_path)

    assert types(result) == {"v": kind}
    assert rows == [{"v": value}]
    changed = kind == "string" and (
        "INF" in sql.upper() or "TIMESTAMP" in sql or "DATE" in sql or "TIME '" in sql
    )
    assert bool(result.warnings) == changed


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_text('/etc/hostname')",
        "SELECT * FROM glob('/etc/*')",
        "COPY kept TO '{folder}/stolen.csv'",
        "ATTACH '{folder}/other.duckdb'",
        "EXPORT DATABASE '{folder}/stolen'",
        "SET enable_external_access = true",
        "SET temp_directory = '{folder}/elsewhere'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM 'https://example.invalid/x.csv'",
    ],
)
def test_a_query_reaches_nothing_but_its_database(file: Path, tmp_path: Path, sql: str) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()

    with pytest.raises(ConfigurationError, match=r"(?i)disabled|locked|does not exist|no functionality"):
        read(connector(file), sql.format(folder=inner), tmp_path)

    assert list(inner.iterdir()) == []


def test_a_python_variable_is_no_table(file: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="does not exist"):
        read(connector(file), "SELECT * FROM tmp_path", tmp_path)


def test_what_does_not_fit_into_memory_is_spilled_and_the_scratch_is_gone(file: Path, tmp_path: Path) -> None:
    sql = "SELECT range AS n, repeat('x', 100) || range AS pad FROM range(600000) ORDER BY hash(range)"

    result, _ = read(
        connector(file, memory_mb=64), f"SELECT count(*) AS n FROM ({sql} LIMIT 500000)", tmp_path
    )

    assert result.row_count == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["read.arrow", "shop.duckdb"]


@pytest.mark.parametrize(
    ("cell", "batch_rows", "sizes"),
    [
        ("range", 5_000, [4_096, 4_096, 1_808]),
        ("range", 1_000, [1_000] * 10),
        ("repeat('x', 1000)", 5_000, [2_048, 2_048, 2_048, 2_048, 1_808]),
    ],
    ids=["narrow", "few at once", "wide"],
)
def test_narrow_rows_come_many_at_once_and_wide_ones_by_the_vector(
    file: Path, cell: str, batch_rows: int, sizes: list[int]
) -> None:
    query = BoundQuery.of([f"SELECT {cell} AS cell FROM range(10000)"])

    stream = connector(file).open(query, QueryLimits(60, max_rows=1_000_000, batch_rows=batch_rows))

    assert [batch.num_rows for batch in stream.batches()] == sizes
    stream.close()


def test_a_file_that_another_process_writes_is_a_transient_error(file: Path) -> None:
    script = f"import duckdb; c = duckdb.connect({str(file)!r}); print('open', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        with pytest.raises(TransientError, match="another process"):
            connector(file).check(5)
        writer.communicate(b"\n")


@pytest.mark.parametrize("content", [None, b"", b"no database" * 1000])
def test_a_file_that_is_no_database_names_the_row(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "x.duckdb"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(
        ConfigurationError, match=r"report_datasources 1, column connection_url: (there is no|the file)"
    ):
        connector(path).check(5)
