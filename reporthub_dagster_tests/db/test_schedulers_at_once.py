"""Several schedulers over one database, killed at any moment: every slot once, none missing."""

from __future__ import annotations

import random
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier, Thread
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from reporthub_dagster.db.session import Hub
from reporthub_dagster.reporting.schedule_policy import SchedulePolicy
from reporthub_dagster.reporting.slots import scheduled_execution_id
from reporthub_dagster.scheduling import Scheduler
from reporthub_dagster_tests.db.scheduler_world import MORNING, Days
from reporthub_dagster_tests.go_api import GoApi
from reporthub_dagster_tests.scheduler_process import Nursery
from reporthub_dagster_tests.servers.mariadb import MariaDBDatabase
from reporthub_dagster_tests.servers.process import wait_until

SCHEDULES = 200
KILLS = 30
PACE = 20.0
"""A minute of the schedulers in three seconds of ours."""
NAMES = ("a", "b")
ALL = SchedulePolicy(catch_up="all", overlap="allow")


def add_schedules(go: GoApi, count: int) -> None:
    rows = ", ".join(f"({row}, 1, '* * * * *', 'UTC', TRUE)" for row in range(2, count + 1))
    go.execute(
        f"INSERT INTO report_schedules (id, config_id, cron_expression, timezone, is_active) VALUES {rows}"
    )
    go.execute("UPDATE report_schedules SET cron_expression = '* * * * *', timezone = 'UTC' WHERE id = 1")


def test_two_schedulers_in_threads_decide_each_slot_once(hub: Hub, go: GoApi) -> None:
    add_schedules(go, 20)
    days = Days(hub, go, defaults=ALL)
    days.tick()
    barrier = Barrier(2)
    keys: list[str] = []
    errors: list[Exception] = []

    def live() -> None:
        scheduler = Scheduler(hub, ALL)
        for minute in range(1, 6):
            barrier.wait()
            try:
                outcome = scheduler.tick(MORNING + timedelta(minutes=minute))
                keys.extend(launch.run_key for launch in outcome.launches)
            except Exception as error:  # noqa: BLE001 - a tick may fail; what it left the next one does
                errors.append(error)

    threads = [Thread(target=live) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    days.tick(timedelta(minutes=5))
    expected = {
        scheduled_execution_id(row, MORNING + timedelta(minutes=m))
        for row in range(1, 21)
        for m in range(1, 6)
    }
    found = go.rows("SELECT id FROM report_executions")
    assert {row["id"] for row in found} == expected, errors
    assert Counter(keys).most_common(1)[0][1] == 1
    assert go.row("SELECT count(*) AS n FROM reporthub_slots WHERE state = 'launched'") == {"n": 100}


@pytest.fixture
def maria(mariadb_database: MariaDBDatabase) -> Any:
    hub = Hub(mariadb_database.url, ZoneInfo("UTC"))
    hub.create_missing_tables()
    go = GoApi(mariadb_database.url)
    go.insert("report_datasources", id=1, name="sales", connection_url="sqlite:///x", db_type="mysql")
    go.insert("report_configs", id=1, report_name="Sales", report_query="SELECT 1", datasource_id=1)
    go.insert("report_schedules", id=1, config_id=1, cron_expression="* * * * *")
    yield Days(hub, go, defaults=ALL)
    hub.close()
    go.close()


def test_schedulers_that_are_killed_lose_no_slot_and_repeat_none(
    maria: Days, mariadb_database: MariaDBDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes on two Dagster instances; every kill is -9, at a moment of chance."""
    for setting, value in (
        ("REPORTHUB_DATABASE_URL", mariadb_database.url),
        ("REPORTHUB_CATCH_UP", "all"),
        ("REPORTHUB_OVERLAP", "allow"),
    ):
        monkeypatch.setenv(setting, value)
    add_schedules(maria.go, SCHEDULES)
    maria.now = start = datetime.now(UTC).replace(microsecond=0)
    maria.tick()
    epoch = time.time()
    chance = random.Random(7)
    nursery = Nursery(tmp_path, start, epoch, PACE)
    try:
        for name in NAMES:
            nursery.start(name)
        wait_until(lambda: nursery.said().count("tick") > 1, "the first ticks", 60)
        for _ in range(KILLS):
            time.sleep(chance.uniform(0.05, 0.6))
            victim = chance.choice(NAMES)
            nursery.kill(victim)
            nursery.start(victim)
        before = nursery.said().count("tick")
        wait_until(lambda: nursery.said().count("tick") > before, "a tick after the last kill", 60)
    finally:
        nursery.end()
    maria.now = (start + timedelta(seconds=(time.time() - epoch) * PACE)).replace(microsecond=0)
    maria.tick()
    first = start.replace(second=0) + timedelta(minutes=1)
    count = int((maria.now - first) / timedelta(minutes=1)) + 1
    minutes = [first + timedelta(minutes=number) for number in range(count)]
    expected = {scheduled_execution_id(row, at) for row in range(1, SCHEDULES + 1) for at in minutes}
    assert len(minutes) > 3
    assert {row["id"] for row in maria.go.rows("SELECT id FROM report_executions")} == expected
    slots = maria.go.row("SELECT count(*) AS n, count(DISTINCT execution_id) AS d FROM reporthub_slots")
    assert slots == {"n": len(expected), "d": len(expected)}
    said = nursery.said()
    keys = Counter(line for line in said if line != "tick" and not line.startswith("tick failed"))
    assert [key for key, count in keys.items() if count > 1] == []
    assert keys
