"""MariaDB → csv, a million rows of 13 columns: the whole job beside pandas doing the same.

`python -m benchmarks.data_path [ROWS]` starts a private MariaDB, runs each contender in a process of its own
and prints CPU seconds, peak memory and ratios. It fails when the job needs more than 250 MB.

Rival: `pandas.read_sql` with pymysql, then `DataFrame.to_csv`: what the engine that this product replaces
does. Our process runs as it is installed, without pandas and numpy: pyarrow imports them where it finds
them.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from zoneinfo import ZoneInfo

from benchmarks.measure import Usage, measured, report

ROWS = 1_000_000
MOST_MEMORY = 250.0
MODULE = "benchmarks.data_path"
QUERY = "SELECT * FROM bench"

TABLE = """
CREATE TABLE bench (
  id BIGINT UNSIGNED NOT NULL, customer INT, quantity SMALLINT, amount DECIMAL(14,2), rate DOUBLE,
  day DATE, created_at DATETIME(6), paid BOOLEAN, status VARCHAR(12), code CHAR(8), name VARCHAR(40),
  note VARCHAR(60), region VARCHAR(20)) CHARSET utf8mb4"""

FILL = """
INSERT INTO bench SELECT seq, seq % 50000, seq % 300, seq * 1.37 % 100000, seq / 7,
  '2025-01-01' + INTERVAL seq % 365 DAY,
  '2025-01-01' + INTERVAL seq * 31 SECOND, seq % 2, ELT(1 + seq % 3, 'PAID', 'SETTLED', 'FAILED'),
  LPAD(HEX(seq), 8, '0'), CONCAT('Customer ', seq % 50000, ' Łódź'), CONCAT('order ', seq, ', "quoted"'),
  ELT(1 + seq % 4, 'EU', 'US', 'APAC', NULL)
FROM seq_1_to_{rows}"""


def main(rows: int) -> int:
    """Measure and print; returns 1 when the memory goal is missed."""
    from reporthub_dagster_tests.servers.mariadb import MariaDBServer  # noqa: PLC0415 - the parent only
    from reporthub_dagster_tests.servers.process import free_port  # noqa: PLC0415

    home = Path(tempfile.mkdtemp(prefix="reporthub-bench-"))
    server = MariaDBServer(home, free_port())
    try:
        server.create()
        server.execute("CREATE DATABASE bench")
        server.execute(TABLE, FILL.format(rows=rows), database="bench")
        ours = measured(MODULE, "ours", server.url("bench"), str(home / "ours"))
        rival = measured(MODULE, "pandas", server.url("bench"), str(home / "pandas.csv"))
    finally:
        server.stop()
        shutil.rmtree(home, ignore_errors=True)
    return _print(rows, ours, rival)


def _print(rows: int, ours: Usage, rival: Usage) -> int:
    print(f"MariaDB to csv, {rows:,} rows of 13 columns\n")
    print(f"{'':34}{'CPU s':>8}{'peak MB':>10}{'wall s':>8}")
    for name, usage in (("reporthub, the whole Dagster job", ours), ("pandas.read_sql + to_csv", rival)):
        print(f"{name:34}{usage.cpu:8.1f}{usage.rss:10.0f}{usage.wall:8.1f}")
    print(f"\n{rival.cpu / ours.cpu:.1f}x less CPU, {rival.rss / ours.rss:.1f}x less memory")
    holds = ours.rss <= MOST_MEMORY
    print(f"goal: at most {MOST_MEMORY:.0f} MB: {'holds' if holds else 'MISSED'}")
    return 0 if holds else 1


class _OnlyWhatTheProductNeeds:
    """Makes this process one in which the rival's packages are not installed."""

    def find_spec(self, name: str, *_: object) -> None:
        """Find nothing, and let nobody else find them."""
        if name in {"numpy", "pandas"}:
            raise ModuleNotFoundError(name=name)


def run_ours(url: str, home: str) -> None:
    """A hub with one report in it, and the job that runs it."""
    os.environ["REPORTHUB_HOME"] = home
    sys.meta_path.insert(0, _OnlyWhatTheProductNeeds())
    from reporthub_dagster.db.session import Hub  # noqa: PLC0415 - after the environment is set
    from reporthub_dagster.instance import choose_instance, run_report, write_embedded_instance  # noqa: PLC0415
    from reporthub_dagster.settings import Settings  # noqa: PLC0415
    from reporthub_dagster_tests.go_api import GoApi  # noqa: PLC0415

    settings = Settings.load()
    hub = Hub(settings.hub_url, ZoneInfo("UTC"))
    hub.create_missing_tables()
    write_embedded_instance(settings)
    choose_instance(settings)
    go = GoApi(settings.hub_url)
    go.insert("report_datasources", id=1, name="bench", connection_url=url, db_type="mysql")
    go.insert(
        "report_configs", id=1, report_name="b", report_query=QUERY, datasource_id=1, max_rows=1_000_000
    )
    finished = run_report({"config_id": 1, "deliver": "none"})
    if not finished.success:
        sys.exit(f"the report failed: {finished.error}")


def run_pandas(url: str, target: str) -> None:
    """What the replaced engine does."""
    import pandas as pd  # noqa: PLC0415
    from sqlalchemy import create_engine  # noqa: PLC0415

    pd.read_sql(QUERY, create_engine(url)).to_csv(target, index=False)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["ours", url, home]:
            report(lambda: run_ours(url, home))
        case ["pandas", url, target]:
            report(lambda: run_pandas(url, target))
        case [rows]:
            sys.exit(main(int(rows)))
        case _:
            sys.exit(main(ROWS))
