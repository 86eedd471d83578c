"""From each kind of data source to csv, beside its vendor's plain client into pandas: CPU and peak memory.

`python -m benchmarks.sources [ROWS] [KIND …]` starts the engines that tests use, runs each contender in a
process of its own and prints a table. It ends with 1 when a figure is below its floor. Only the clients are
measured: what an emulator or a stand-in costs, or how slow it is, does not count. Oracle is not measured: its
driver has no server here. MySQL is in `benchmarks.data_path`, with PostgreSQL again, start-up included;
DuckDB and files are in `benchmarks.files`.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import source_servers as servers
from benchmarks.measure import Usage, measured, report
from benchmarks.source_rivals import RIVALS
from reporthub_dagster.connectors.source_settings import SourceSettings
from reporthub_dagster.network.egress import EgressPolicy

ROWS = 1_000_000
MODULE = "benchmarks.sources"

POSTGRESQL = """
SELECT n::bigint AS id, n % 50000 AS customer, (n % 300)::smallint AS quantity,
  (n * 1.37 % 100000)::numeric(14,2) AS amount, (n / 7.0)::float8 AS rate, date '2025-01-01' + n % 365 AS day,
  timestamp '2025-01-01' + n * 31 * interval '1 second' AS created_at, n % 2 = 1 AS paid,
  (array['PAID', 'SETTLED', 'FAILED'])[1 + n % 3] AS status, lpad(upper(to_hex(n)), 8, '0') AS code,
  'Customer ' || n % 50000 || ' Łódź' AS name, 'order ' || n || ', "quoted"' AS note,
  (array['EU', 'US', 'APAC', NULL])[1 + n % 4] AS region
FROM generate_series(1, {rows}) AS n"""
CLICKHOUSE = """
SELECT number AS id, toInt32(number % 50000) AS customer, toInt16(number % 300) AS quantity,
  toDecimal64(number % 100000, 2) AS amount, number / 7 AS rate, toDate('2025-01-01') + number % 365 AS day,
  toDateTime64('2025-01-01 00:00:00', 6) + number * 31 AS created_at, number % 2 = 1 AS paid,
  ['PAID', 'SETTLED', 'FAILED'][1 + number % 3] AS status, lower(hex(number)) AS code,
  concat('Customer ', toString(number % 50000), ' Łódź') AS name,
  concat('order ', toString(number), ', "quoted"') AS note,
  if(number % 4 = 3, NULL, ['EU', 'US', 'APAC'][1 + number % 4]) AS region
FROM numbers({rows})"""
MONGODB = '{{"collection": "numbers", "filter": {{"n": {{"$lte": {rows}}}}}}}'
DUCKDB = """
SELECT range AS id, CAST(range % 50000 AS INTEGER) AS customer, CAST(range % 300 AS INTEGER) AS quantity,
  CAST(range % 100000 AS DECIMAL(12, 2)) AS amount, CAST(range AS DOUBLE) / 7 AS rate,
  CAST(CAST('2025-01-01' AS DATE) + CAST(range % 365 AS INTEGER) AS DATE) AS day,
  CAST('2025-01-01 00:00:00' AS TIMESTAMP) + INTERVAL '1' SECOND * (range * 31 % 31000000) AS created_at,
  range % 2 = 1 AS paid,
  CASE range % 3 WHEN 0 THEN 'PAID' WHEN 1 THEN 'SETTLED' ELSE 'FAILED' END AS status,
  CAST(range * 7 AS VARCHAR) AS code,
  'Customer ' || CAST(range % 50000 AS VARCHAR) || ' Łódź' AS name,
  'order ' || CAST(range AS VARCHAR) || ', "quoted"' AS note,
  CASE range % 4 WHEN 0 THEN 'EU' WHEN 1 THEN 'US' WHEN 2 THEN 'APAC' END AS region
FROM range(1, {rows} + 1)"""
BIGQUERY = """
SELECT n AS id, MOD(n, 50000) AS customer, MOD(n, 300) AS quantity,
  CAST(MOD(n, 100000) AS NUMERIC) / 100 AS amount, n / 7 AS rate,
  DATE_ADD(DATE '2025-01-01', INTERVAL MOD(n, 365) DAY) AS day,
  TIMESTAMP_ADD(TIMESTAMP '2025-01-01 00:00:00', INTERVAL MOD(n * 31, 31000000) SECOND) AS created_at,
  MOD(n, 2) = 1 AS paid,
  CASE MOD(n, 3) WHEN 0 THEN 'PAID' WHEN 1 THEN 'SETTLED' ELSE 'FAILED' END AS status,
  CAST(n * 7 AS STRING) AS code, CONCAT('Customer ', CAST(MOD(n, 50000) AS STRING), ' Łódź') AS name,
  CONCAT('order ', CAST(n AS STRING), ', "quoted"') AS note,
  CASE MOD(n, 4) WHEN 0 THEN 'EU' WHEN 1 THEN 'US' WHEN 2 THEN 'APAC' END AS region
FROM UNNEST(GENERATE_ARRAY(0, {rows} - 1)) AS n"""


SNOWFLAKE = DUCKDB.replace(
    "CAST(CAST('2025-01-01' AS DATE) + CAST(range % 365 AS INTEGER) AS DATE)",
    "CAST(DATEADD(day, CAST(range % 365 AS INTEGER), CAST('2025-01-01' AS DATE)) AS DATE)",
).replace(
    "CAST('2025-01-01 00:00:00' AS TIMESTAMP) + INTERVAL '1' SECOND * (range * 31 % 31000000)",
    "DATEADD(second, range * 31 % 31000000, CAST('2025-01-01 00:00:00' AS TIMESTAMP_NTZ))",
)

_BY_ARROW = "sqlserver, arrow"


@dataclass(frozen=True)
class Source:
    """A data source to measure.

    Attributes:
        kind: Ours.
        serve: Starts what answers; gives its URL.
        answers: What that is.
        query: Of `{rows}` rows.
        share: Of the rows that are asked for: where an emulator gives them slowly, fewer do.
        goal: How much less CPU than the rival.
        floor: How much less it must be.
        rival: Its name among the rivals; empty: the kind.
    """

    kind: str
    serve: Callable[[], AbstractContextManager[str]]
    answers: str
    query: str
    share: float
    goal: float
    floor: float
    rival: str = ""


SOURCES = (
    Source("postgresql", servers.postgresql, "its server", POSTGRESQL, share=1, goal=8, floor=5),
    Source("clickhouse", servers.clickhouse, "its engine", CLICKHOUSE, share=1, goal=8, floor=3),
    Source("mongodb", servers.mongodb, "emulator", MONGODB, share=0.2, goal=1, floor=0.8),
    Source("sqlserver", servers.sqlserver, "stand-in", DUCKDB, share=0.2, goal=1, floor=0.8),
    Source("sqlserver", servers.sqlserver, "stand-in", DUCKDB, 0.2, goal=1, floor=0.8, rival=_BY_ARROW),
    Source("trino", servers.trino, "stand-in", DUCKDB, share=0.2, goal=1, floor=0.8),
    Source("bigquery", servers.bigquery, "emulator", BIGQUERY, share=0.2, goal=1, floor=0.8),
    Source("snowflake", servers.snowflake, "emulator", SNOWFLAKE, share=1, goal=1, floor=0.8),
)


def ours(kind: str, url: str, query: str, target: str) -> None:
    """Query → spool → csv."""
    from benchmarks.contenders import spool_and_render  # noqa: PLC0415 - in the measured process alone

    settings = SourceSettings(EgressPolicy.parse("default", "127.0.0.1"))
    spool_and_render(kind, url, query, "csv", target, settings)


def rival(kind: str, url: str, query: str, target: str) -> None:
    """The vendor's client into pandas, and csv from there."""
    frame = RIVALS[kind](url, query)
    getattr(frame, "to_csv")(target, index=False)  # noqa: B009 - pandas has no types here


def main(rows: int, wanted: list[str]) -> int:
    """Measure and print; returns 1 when a figure is below its floor."""
    below = False
    print(f"{'source, to csv':44}{'CPU s':>8}{'MB':>7}{'client':>9}{'MB':>7}{'times':>7}  goal")
    with tempfile.TemporaryDirectory(prefix="reporthub-bench-") as folder:
        for source in SOURCES:
            if wanted and source.kind not in wanted:
                continue
            count = round(rows * source.share)
            with source.serve() as url:
                mine = _run("ours", source.kind, source, url, count, Path(folder))
                other = _run("rival", source.rival or source.kind, source, url, count, Path(folder))
            times = other.cpu / mine.cpu
            below = below or times < source.floor
            verdict = "holds" if times >= source.goal else f"MISSED, floor {source.floor:g}x"
            used = f"{mine.cpu:9.1f}{mine.rss:7.0f}{other.cpu:9.1f}{other.rss:7.0f}{times:7.1f}"
            label = f"{source.rival or source.kind} ({source.answers})"
            print(f"{label:28}{count:>10,} rows{used}  {source.goal:g}x {verdict}", flush=True)
    return int(below)


def _run(contender: str, kind: str, source: Source, url: str, rows: int, folder: Path) -> Usage:
    """What the rows cost: what one row costs, nearly all of it imports and pandas, is taken off the CPU."""
    target = folder / "file"
    usages = []
    for count in (1, rows):
        usages.append(measured(MODULE, contender, kind, url, source.query.format(rows=count), str(target)))
        if (lines := target.read_bytes().count(b"\n")) != count + 1:
            sys.exit(f"{contender} wrote {lines - 1:,} of {count:,} rows")
        target.unlink()
        target.with_name("file.arrow").unlink(missing_ok=True)
    start, whole = usages
    return replace(whole, cpu=whole.cpu - start.cpu)


if __name__ == "__main__":
    name, *arguments = sys.argv[1:] or [str(ROWS)]
    contenders: dict[str, Callable[..., None]] = {"ours": ours, "rival": rival}
    if name in contenders:
        report(lambda: contenders[name](*arguments))
    else:
        sys.exit(main(int(name), arguments))
