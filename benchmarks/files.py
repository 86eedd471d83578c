"""From DuckDB and files to csv, beside the vendor's client and pandas; and two databases joined.

`python -m benchmarks.files [ROWS]` makes a table of 13 columns, 150 bytes a row, as a DuckDB file, a csv and
a parquet file, and in a private MariaDB and PostgreSQL. Each contender runs in a process of its own; what is
printed is CPU seconds and peak memory. How many times less is about what the rows cost: start-up, as a tenth
of the rows shows it, is taken off. It ends with 1 when a figure is below its floor.

Rivals: `duckdb.sql(…).df()`, `pandas.read_csv`, `pandas.read_parquet`, each with `to_csv`; for the join two
`pandas.read_sql`, `merge` and `to_csv`. Limit: the engine's own writer in one step, which keeps no spool and
follows none of our rules.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.data_path import MILLION, database_servers
from benchmarks.measure import Usage, measured

CONTENDERS = "benchmarks.file_contenders"
FLAT_MB = 100.0
"""How much more memory ten times the rows may take: a row group of parquet is 20 MB, a buffer of csv 8."""
JOIN_MB = 1000.0
JOIN = """SELECT m.*, p.name AS other_name, p.amount AS other_amount
FROM mysql m JOIN postgresql p USING (id)"""


@dataclass(frozen=True)
class Work:
    """One row of the table.

    Attributes:
        name: What is read.
        times: How much less CPU than the rival: the goal, and the floor.
    """

    name: str
    kind: str
    url: str
    query: str
    times: tuple[float, float]


def main(rows: int) -> int:
    """Measure and print; returns 1 when a figure is below its floor."""
    with database_servers(rows) as (urls, folder, _):
        made = {count: _files(folder, count) for count in (rows // 10, rows)}
        works = [
            Work("DuckDB", "duckdb", "duckdb:///{}.duckdb", "SELECT * FROM bench", (8, 3)),
            Work("csv", "file", "{}.csv", "SELECT * FROM data", (8, 1)),
            Work("parquet", "file", "{}.parquet", "SELECT * FROM data", (8, 2)),
        ]
        print(f"{'work':30}{'CPU s':>8}{'MB':>7}{'pandas':>9}{'MB':>7}{'times':>7}{'limit':>7}  goals")
        held = [_compared(work, made, rows) for work in works]
        held.append(_joined(urls, folder))
    return int(not all(held))


def _compared(work: Work, files: dict[int, Path], rows: int) -> bool:
    small, usage, small_rival, rival, small_limit, limit = (
        _run(work, contender, files[count])
        for contender in ("ours", "pandas", "straight")
        for count in (rows // 10, rows)
    )
    times, most = (
        (rival.cpu - small_rival.cpu) / (of_all.cpu - of_few.cpu)
        for of_few, of_all in ((small, usage), (small_limit, limit))
    )
    growth = usage.rss - small.rss
    goal, floor = work.times
    missed = "" if times >= goal else f", floor {floor:g}x {_word(times >= floor)}"
    words = [
        f"{goal:g}x {_word(times >= goal)}{missed}",
        f"{growth:+.0f} MB for ten times the rows: {_word(growth <= FLAT_MB)}",
    ]
    line = _line(f"{work.name} to csv, {rows:,} rows", usage, rival, times)
    print(f"{line}{most:7.1f} ", ", ".join(words), flush=True)
    return times >= floor and growth <= FLAT_MB


def _joined(urls: dict[str, str], folder: Path) -> bool:
    target = str(folder / "joined")
    usage = measured(CONTENDERS, "join", json.dumps(urls), JOIN, target)
    rival = measured(CONTENDERS, "join_pandas", json.dumps(urls), JOIN, target)
    holds = usage.rss <= JOIN_MB
    name = "MariaDB joined to PostgreSQL"
    print(_line(name, usage, rival, rival.cpu / usage.cpu), f"{'':7} below {JOIN_MB:g} MB: {_word(holds)}")
    return holds


def _run(work: Work, contender: str, files: Path) -> Usage:
    target = files.with_name("result")
    try:
        return measured(CONTENDERS, contender, work.kind, work.url.format(files), work.query, str(target))
    finally:
        target.unlink(missing_ok=True)
        target.with_name("result.arrow").unlink(missing_ok=True)


def _files(folder: Path, rows: int) -> Path:
    """The table as files; their path without the ending."""
    base = folder / f"bench-{rows}"
    # In a process of its own: what this one uses at its peak, its children would seem to use.
    measured(CONTENDERS, "files", str(base), str(rows))
    return base


def _line(name: str, ours: Usage, rival: Usage, times: float) -> str:
    return f"{name:30}{ours.cpu:8.1f}{ours.rss:7.0f}{rival.cpu:9.1f}{rival.rss:7.0f}{times:7.1f}"


def _word(holds: bool) -> str:
    return "holds" if holds else "MISSED"


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else MILLION))
