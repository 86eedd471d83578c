"""A tick of the scheduler over 10,000 schedules, none due and 1,000 due, beside the loop that reads each row.

`python -m benchmarks.tick [SCHEDULES]` starts a private MariaDB and measures CPU seconds of each contender in
a process of its own, less what the process needs to start. Rival: read every active schedule, work out with
cronsim what came due since its last slot, one statement for each that did: what a scheduler without a table
of its own does, without even the guard against a second scheduler. It fails when an idle tick needs 2 s.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from benchmarks.measure import measured, report

SCHEDULES = 10_000
MOST_SECONDS = 2.0
MODULE = "benchmarks.tick"
START = datetime(2025, 1, 31, 7, 59, 30, tzinfo=UTC)
MOMENTS = {"idle": START + timedelta(seconds=10), "due": START + timedelta(seconds=40)}

FILL = (
    "INSERT INTO report_datasources (id, name, connection_url, db_type) VALUES (1, 's', 'sqlite:///x', 'mysql')",
    "INSERT INTO report_configs (id, report_name, report_query, datasource_id) VALUES (1, 'r', 'SELECT 1', 1)",
    # A tenth of them at 08:00, the others at a hundred other moments, in three zones of the same offset.
    "INSERT INTO report_schedules (id, config_id, cron_expression, timezone, is_active) "
    "SELECT seq, 1, IF(seq % 10 = 0, '0 8 * * *', CONCAT(seq % 59 + 1, ' ', 9 + seq % 10, ' * * *')), "
    "ELT(1 + seq % 3, 'UTC', 'Africa/Accra', 'Atlantic/Reykjavik'), 1 FROM seq_1_to_{count}",
)


def main(count: int) -> int:
    """Measure and print; returns 1 when the goal is missed."""
    from reporthub_dagster_tests.servers.mariadb import MariaDBServer  # noqa: PLC0415 - the parent only
    from reporthub_dagster_tests.servers.process import free_port  # noqa: PLC0415

    home = Path(tempfile.mkdtemp(prefix="reporthub-bench-"))
    server = MariaDBServer(home, free_port())
    try:
        server.create()
        server.execute("CREATE DATABASE bench")
        url = server.url("bench")
        _create_tables(url)
        server.execute(*(statement.format(count=count) for statement in FILL), database="bench")
        ours(url, START.isoformat())
        start = measured(MODULE, "nothing", url, START.isoformat()).cpu
        found = {
            (who, what): measured(MODULE, who, url, at.isoformat()).cpu - start
            for what, at in MOMENTS.items()
            for who in ("rival", "ours")
        }
    finally:
        server.stop()
        shutil.rmtree(home, ignore_errors=True)
    return _print(count, found)


def ours(url: str, now: str) -> None:
    """A tick as the sensor makes it."""
    from reporthub_dagster.db.session import Hub  # noqa: PLC0415 - a contender's own imports
    from reporthub_dagster.reporting.schedule_policy import SchedulePolicy  # noqa: PLC0415
    from reporthub_dagster.scheduling import Scheduler  # noqa: PLC0415

    hub = Hub(url, ZoneInfo("UTC"))
    print(Scheduler(hub, SchedulePolicy()).tick(datetime.fromisoformat(now)).message, file=sys.stderr)
    hub.close()


def rival(url: str, now: str) -> None:
    """Every row read, every cron worked out, one insert for each that is due; rolled back at the end."""
    from cronsim import CronSim  # noqa: PLC0415 - a contender's own imports
    from sqlalchemy import create_engine, text  # noqa: PLC0415

    import reporthub_dagster.scheduling  # noqa: F401, PLC0415 - the same start as ours

    at, due = datetime.fromisoformat(now), 0
    engine = create_engine(url)
    with engine.connect() as connection:
        rows = connection.execute(
            text("SELECT id, config_id, cron_expression, timezone FROM report_schedules WHERE is_active")
        ).all()
        for row in rows:
            slot = next(CronSim(row.cron_expression, START.astimezone(ZoneInfo(row.timezone))))
            if slot <= at:
                due += 1
                connection.execute(
                    text(
                        "INSERT INTO report_executions (id, config_id, executed_by) VALUES (:id, 1, 'rival')"
                    ),
                    {"id": f"rival-{row.id}"},
                )
        connection.rollback()
    engine.dispose()
    print(f"{due} of {len(rows)} due", file=sys.stderr)


def nothing(url: str, now: str) -> None:  # noqa: ARG001 - called as the others
    """What a process costs before it ticks."""
    import reporthub_dagster.scheduling  # noqa: F401, PLC0415


def _create_tables(url: str) -> None:
    from reporthub_dagster.db.session import Hub  # noqa: PLC0415

    hub = Hub(url, ZoneInfo("UTC"))
    hub.create_missing_tables()
    hub.close()


def _print(count: int, found: dict[tuple[str, str], float]) -> int:
    print(f"a tick over {count:,} schedules, CPU seconds of the scheduler's process")
    for what, words in (("idle", "none due"), ("due", "a tenth due")):
        read, tick = found["rival", what], found["ours", what]
        print(
            f"  {words:<12} row by row {read:6.2f}   ours {tick:6.2f}   ratio {read / max(tick, 0.01):5.1f}"
        )
    return int(found["ours", "idle"] > MOST_SECONDS)


if __name__ == "__main__":
    contenders = {"ours": ours, "rival": rival, "nothing": nothing}
    if sys.argv[1:2] and sys.argv[1] in contenders:
        report(lambda: contenders[sys.argv[1]](*sys.argv[2:]))
    else:
        sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else SCHEDULES))
