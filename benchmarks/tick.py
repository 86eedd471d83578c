"""A tick of the scheduler over 10,000 schedules, none due and 1,000 due, beside the loop that reads each row.

`python -m benchmarks.tick [SCHEDULES]` starts a private MariaDB and prints the CPU seconds of each contender,
in a process of its own, from after its imports. Rival: read every active schedule, work out with cronsim what
came due, and for each that did insert an execution and move `next_run_at` in one transaction. It keeps no
fates and has no guard against a second scheduler. Fails when a tick of ours needs 2 s.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from cronsim import CronSim
from sqlalchemy import create_engine, text

from benchmarks.measure import measured
from reporthub_dagster.db.session import Hub
from reporthub_dagster.reporting.schedule_policy import SchedulePolicy
from reporthub_dagster.scheduling import Scheduler

SCHEDULES = 10_000
MOST_SECONDS = 2.0
MODULE = "benchmarks.tick"
START = datetime(2025, 1, 31, 7, 59, 30, tzinfo=UTC)
MOMENTS = {"none due": START + timedelta(seconds=10), "a tenth due": START + timedelta(seconds=40)}

# A tenth of them at 08:00, the others at a few hundred other moments; three zones of one offset.
FILL = """
INSERT INTO report_datasources (id, name, connection_url, db_type) VALUES (1, 's', 'sqlite:///x', 'mysql');
INSERT INTO report_configs (id, report_name, report_query, datasource_id) VALUES (1, 'r', 'SELECT 1', 1);
INSERT INTO report_schedules (id, config_id, cron_expression, timezone, is_active)
SELECT seq, 1, IF(seq % 10 = 0, '0 8 * * *', CONCAT(seq % 59 + 1, ' ', 9 + seq % 10, ' * * *')),
  ELT(1 + seq % 3, 'UTC', 'Africa/Accra', 'Atlantic/Reykjavik'), 1 FROM seq_1_to_{count}"""
SELECT = "SELECT id, cron_expression, timezone FROM report_schedules WHERE is_active"
INSERT = (
    "INSERT INTO report_executions (id, config_id, schedule_id, executed_by) VALUES (UUID(), 1, :id, 'rival')"
)
MOVE = "UPDATE report_schedules SET next_run_at = :slot, updated_at = updated_at WHERE id = :id"


def main(count: int) -> int:
    """Measure and print; returns 1 when the goal is missed."""
    from reporthub_dagster_tests.servers.mariadb import MariaDBServer  # noqa: PLC0415 - the parent only
    from reporthub_dagster_tests.servers.process import free_port  # noqa: PLC0415

    home = Path(tempfile.mkdtemp(prefix="reporthub-bench-"))
    server = MariaDBServer(home, free_port())
    found = {}
    try:
        server.create()
        for who in ("rival", "ours"):
            server.execute(f"CREATE DATABASE {who}")
            url = server.url(who)
            _create_tables(url)
            server.execute(*FILL.format(count=count).split(";\n"), database=who)
            ours(url, START.isoformat())
            for what, at in MOMENTS.items():
                found[who, what] = measured(MODULE, who, url, at.isoformat()).cpu
    finally:
        server.stop()
        shutil.rmtree(home, ignore_errors=True)
    return _print(count, found)


def ours(url: str, now: str) -> float:
    """A tick as the sensor makes it; CPU seconds."""
    hub = Hub(url, ZoneInfo("UTC"))
    started = time.process_time()
    outcome = Scheduler(hub, SchedulePolicy()).tick(datetime.fromisoformat(now))
    used = time.process_time() - started
    hub.close()
    print(outcome.message, file=sys.stderr)
    return used


def rival(url: str, now: str) -> float:
    """Every row read, every cron worked out, a transaction for each that is due; CPU seconds."""
    at, due = datetime.fromisoformat(now), 0
    engine = create_engine(url)
    started = time.process_time()
    with engine.connect() as connection:
        rows = connection.execute(text(SELECT)).all()
        for row in rows:
            slot = next(CronSim(row.cron_expression, START.astimezone(ZoneInfo(row.timezone))))
            if slot <= at:
                due += 1
                connection.execute(text(INSERT), {"id": row.id})
                connection.execute(text(MOVE), {"id": row.id, "slot": f"{slot:%Y-%m-%d %H:%M:%S}"})
                connection.commit()
    used = time.process_time() - started
    engine.dispose()
    print(f"{due} of {len(rows)} due", file=sys.stderr)
    return used


def _create_tables(url: str) -> None:
    hub = Hub(url, ZoneInfo("UTC"))
    hub.create_missing_tables()
    hub.close()


def _print(count: int, found: dict[tuple[str, str], float]) -> int:
    print(f"a tick over {count:,} schedules, CPU seconds of the scheduler's process")
    for what in MOMENTS:
        read, tick = found["rival", what], found["ours", what]
        print(f"  {what:<12} row by row {read:6.3f}   ours {tick:6.3f}   ratio {read / tick:5.1f}")
    return int(max(found["ours", what] for what in MOMENTS) > MOST_SECONDS)


if __name__ == "__main__":
    contenders = {"ours": ours, "rival": rival}
    if sys.argv[1:2] and sys.argv[1] in contenders:
        print(json.dumps({"cpu": contenders[sys.argv[1]](*sys.argv[2:]), "rss": 0, "wall": 0}))
    else:
        sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else SCHEDULES))
