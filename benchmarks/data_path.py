"""From query to file, beside pandas doing the same: CPU seconds, peak memory, and which goals hold.

`python -m benchmarks.data_path [ROWS]` starts a private MariaDB and a private PostgreSQL with a table of 13
columns of mixed types, 150 bytes a row, runs each contender in a process of its own and prints a table. It
ends with 1 when a figure is below its floor. With fewer than a million ROWS, the default, every row of the
table shrinks in proportion, and a floor in seconds with it.

Rival: `pandas.read_sql` with PyMySQL or psycopg, then pandas' own writer: what the engine that this product
replaces does. Limit: `mariadb --quick --batch`, which converts nothing.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contenders import STORING
from benchmarks.measure import Usage, measured
from reporthub_dagster.renderers.registry import RENDERERS
from reporthub_dagster_tests.servers.mariadb import MariaDBServer
from reporthub_dagster_tests.servers.postgresql import PostgreSQLServer
from reporthub_dagster_tests.servers.process import free_port

MILLION = 1_000_000
CONTENDERS = "benchmarks.contenders"
SMALL_GOAL_MS = 60.0
GROWTH_SPREAD = 0.15

MYSQL_TABLE = """
CREATE TABLE bench (
  id BIGINT UNSIGNED NOT NULL, customer INT, quantity SMALLINT, amount DECIMAL(14,2), rate DOUBLE,
  day DATE, created_at DATETIME(6), paid BOOLEAN, status VARCHAR(12), code CHAR(8), name VARCHAR(40),
  note VARCHAR(60), region VARCHAR(20)) CHARSET utf8mb4"""

MYSQL_FILL = """
INSERT INTO bench SELECT seq, seq % 50000, seq % 300, seq * 1.37 % 100000, seq / 7,
  '2025-01-01' + INTERVAL seq % 365 DAY,
  '2025-01-01' + INTERVAL seq * 31 SECOND, seq % 2, ELT(1 + seq % 3, 'PAID', 'SETTLED', 'FAILED'),
  LPAD(HEX(seq), 8, '0'), CONCAT('Customer ', seq % 50000, ' Łódź'), CONCAT('order ', seq, ', "quoted"'),
  ELT(1 + seq % 4, 'EU', 'US', 'APAC', NULL)
FROM seq_1_to_{rows}"""

POSTGRESQL_TABLE = """
CREATE TABLE bench (
  id bigint NOT NULL, customer int, quantity smallint, amount numeric(14,2), rate float8, day date,
  created_at timestamp(6), paid boolean, status varchar(12), code char(8), name varchar(40),
  note varchar(60), region varchar(20))"""

POSTGRESQL_FILL = """
INSERT INTO bench SELECT seq, seq % 50000, seq % 300, seq * 1.37 % 100000, seq / 7.0,
  date '2025-01-01' + (seq % 365)::int, timestamp '2025-01-01' + seq * 31 * interval '1 second',
  seq % 2 = 1, (array['PAID', 'SETTLED', 'FAILED'])[1 + seq % 3], lpad(upper(to_hex(seq)), 8, '0'),
  'Customer ' || seq % 50000 || ' Łódź', 'order ' || seq || ', "quoted"',
  (array['EU', 'US', 'APAC', NULL])[1 + seq % 4]
FROM generate_series(1, {rows}) AS seq"""


@dataclass(frozen=True)
class Bound:
    """What a figure should be, and what it must be: at least for ratios, at most for seconds and MB."""

    goal: float
    floor: float


@dataclass(frozen=True)
class Work:
    """One row of the table.

    Attributes:
        source: `mysql` or `postgresql`.
        rows: Of a table of a million.
        times: How much less CPU than pandas; None leaves pandas out.
        cpu: CPU seconds.
        rss: Peak memory in MB.
    """

    source: str
    format: str
    rows: int = MILLION
    times: Bound | None = None
    cpu: Bound | None = None
    rss: Bound | None = None


WORKS = (
    Work("mysql", "csv", times=Bound(12, 6), rss=Bound(160, 200)),
    Work("mysql", "xlsx", rows=50_000, times=Bound(12, 8)),
    Work("mysql", "xlsx", cpu=Bound(15, 25), rss=Bound(220, 300)),
    Work("mysql", "jsonl", times=Bound(8, 5)),
    Work("mysql", "parquet", times=Bound(8, 5)),
    Work("postgresql", "csv", times=Bound(8, 5), rss=Bound(160, 200)),
    Work("mysql", "pdf", rows=20_000, cpu=Bound(15, 15), rss=Bound(200, 200)),
)
GROWTH = (100_000, MILLION, 5 * MILLION)


class Bench:
    """The servers, and what has been said of the figures so far.

    Args:
        urls: Source → SQLAlchemy URL.
        folder: For the files; each is removed when it was measured.
        scale: Of every number of rows.
    """

    def __init__(self, urls: dict[str, str], folder: Path, scale: float) -> None:
        self._urls = urls
        self._folder = folder
        self._scale = scale
        self.below_floor = False

    def run(self, contender: str, source: str, output_format: str, rows: int) -> Usage:
        """One contender's usage for the first `rows` of a million."""
        target = self._folder / "file"
        query = f"SELECT * FROM bench LIMIT {round(rows * self._scale)}"
        if rows > MILLION:
            query = f"SELECT bench.* FROM seq_1_to_{rows // MILLION} JOIN bench"
        try:
            return measured(CONTENDERS, contender, self._urls[source], query, output_format, str(target))
        finally:
            target.unlink(missing_ok=True)
            target.with_name("file.arrow").unlink(missing_ok=True)

    def works(self) -> None:
        """The table of formats."""
        print(f"{'work':34}{'CPU s':>8}{'MB':>7}{'pandas':>9}{'MB':>7}{'times':>7}  goals")
        for work in WORKS:
            if work.format in RENDERERS.kinds():
                self._work(work)

    def growth(self) -> None:
        """CPU per row and memory while the rows grow.

        Everything runs twice and the lower CPU counts, since other work on the machine only adds to it. Of
        the fewest rows the start of the process is nearly all: what two runs differ by is allowed for there.
        """
        print(f"\n{'growth, MariaDB to csv':34}{'CPU s':>8}{'MB':>7}{'µs a row':>10}{'±':>8}")
        empty = self._twice(0)
        costs, doubts, memory = [], [], []
        for rows in GROWTH:
            runs = self._twice(rows)
            microseconds = 1e6 / (rows * self._scale)
            costs.append((runs[0].cpu - empty[0].cpu) * microseconds)
            doubts.append(sum(higher.cpu - lower.cpu for lower, higher in (runs, empty)) * microseconds)
            memory.append(max(run.rss for run in runs))
            figures = f"{runs[0].cpu:8.1f}{memory[-1]:7.0f}{costs[-1]:10.2f}{doubts[-1]:8.2f}"
            print(f"{_rows(rows * self._scale):34}{figures}", flush=True)
        fewest, *others = costs
        for what, values in (("CPU a row of the others", others), ("memory", memory)):
            spread = (max(values) - min(values)) / (max(values) + min(values))
            print(f"  {what} ±{spread:.0%}: {_word(spread <= GROWTH_SPREAD)} (±{GROWTH_SPREAD:.0%})")
        middle = (max(others) + min(others)) / 2
        allowed = middle * GROWTH_SPREAD + doubts[0]
        off = fewest - middle
        print(f"  CPU a row of the fewest {off:+.2f} µs: {_word(abs(off) <= allowed)} (±{allowed:.2f} µs)")

    def small(self) -> None:
        """The time of a report of 100 rows in a warm process."""
        command = [sys.executable, "-m", CONTENDERS, "small", self._urls["mysql"], str(self._folder / "hub")]
        told = subprocess.run(
            command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        ops = [line.split() for line in told.stdout.splitlines()]
        total = sum(float(spent) for name, spent in ops if name != STORING)
        print(f"\n100 rows in a warm process, our own CPU inside the ops: {total:.0f} ms", end=": ")
        print(f"{_word(total <= SMALL_GOAL_MS)} ({SMALL_GOAL_MS:.0f} ms)")
        print("  " + ", ".join(f"{name} {spent}" for name, spent in ops))

    def _twice(self, rows: int) -> list[Usage]:
        """Two runs, the one with less CPU first."""
        return sorted((self.run("ours", "mysql", "csv", rows) for _ in range(2)), key=lambda run: run.cpu)

    def _work(self, work: Work) -> None:
        usage = self.run("ours", work.source, work.format, work.rows)
        line = f"{_name(work, self._scale):34}{usage.cpu:8.1f}{usage.rss:7.0f}"
        verdicts = []
        if work.times:
            rival = self.run("pandas", work.source, work.format, work.rows)
            times = rival.cpu / usage.cpu
            line += f"{rival.cpu:9.1f}{rival.rss:7.0f}{times:7.1f}"
            verdicts.append(
                self._judged(times >= work.times.goal, times >= work.times.floor, work.times, "x")
            )
        else:
            line += f"{'-':>9}{'-':>7}{'-':>7}"
        if work.cpu:
            cpu = usage.cpu / self._scale
            verdicts.append(self._judged(cpu <= work.cpu.goal, cpu <= work.cpu.floor, work.cpu, " s"))
        if work.rss:
            verdicts.append(
                self._judged(usage.rss <= work.rss.goal, usage.rss <= work.rss.floor, work.rss, " MB")
            )
        print(f"{line}  {', '.join(verdicts)}", flush=True)

    def _judged(self, goal: bool, floor: bool, bound: Bound, unit: str) -> str:
        self.below_floor = self.below_floor or not floor
        if goal:
            return f"{bound.goal:g}{unit} holds"
        return f"{bound.goal:g}{unit} MISSED, floor {bound.floor:g}{unit} {_word(floor)}"


def main(rows: int) -> int:
    """Measure and print; returns 1 when a figure is below its floor."""
    with database_servers(rows) as (urls, folder, socket):
        bench = Bench(urls, folder, rows / MILLION)
        bench.works()
        limit = measured(CONTENDERS, "client", socket, "SELECT * FROM bench", str(folder / "file"))
        print(f"{'limit: mariadb --quick --batch':34}{limit.cpu:8.1f}{limit.rss:7.0f}")
        bench.growth()
        bench.small()
    if bench.below_floor:
        print("\na figure is below its floor")
    return int(bench.below_floor)


@contextmanager
def database_servers(rows: int) -> Iterator[tuple[dict[str, str], Path, str]]:
    """Both servers with the table; URLs, a folder for files and MariaDB's socket."""
    home = Path(tempfile.mkdtemp(prefix="reporthub-bench-"))
    home.chmod(0o755)
    folders = [home / name for name in ("mariadb", "postgresql", "files")]
    for folder in folders:
        folder.mkdir()
    mariadb, postgresql = MariaDBServer(folders[0], free_port()), PostgreSQLServer(folders[1], free_port())
    try:
        mariadb.create()
        mariadb.execute("CREATE DATABASE bench")
        mariadb.execute(MYSQL_TABLE, MYSQL_FILL.format(rows=rows), database="bench")
        postgresql.create()
        postgresql.execute(POSTGRESQL_TABLE, POSTGRESQL_FILL.format(rows=rows), "VACUUM ANALYZE bench")
        urls = {"mysql": mariadb.url("bench"), "postgresql": postgresql.url()}
        yield urls, folders[2], str(mariadb.socket)
    finally:
        mariadb.stop()
        postgresql.stop()
        shutil.rmtree(home, ignore_errors=True)


def _name(work: Work, scale: float) -> str:
    source = {"mysql": "MariaDB", "postgresql": "PostgreSQL"}[work.source]
    return f"{source} to {work.format}, {_rows(work.rows * scale)}"


def _rows(number: float) -> str:
    return f"{round(number):,} rows"


def _word(holds: bool) -> str:
    return "holds" if holds else "MISSED"


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else MILLION))
