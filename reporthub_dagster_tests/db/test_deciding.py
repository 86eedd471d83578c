"""Decisions are written many at a time, and still each of them once and alone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import text

from reporthub_dagster.db.deciding import MOST_SCHEDULES
from reporthub_dagster.db.session import Hub
from reporthub_dagster.reporting.slots import scheduled_execution_id
from reporthub_dagster_tests.db.scheduler_world import MORNING, Days
from reporthub_dagster_tests.go_api import GoApi
from reporthub_dagster_tests.servers.mariadb import MariaDBServer

HOUR = timedelta(hours=1)
COUNT = MOST_SCHEDULES + 20
ON_SERVERS = pytest.mark.parametrize("hub_url", ["mysql", "mariadb", "postgresql"], indirect=True)


@pytest.fixture
def days(hub: Hub, go: GoApi) -> Days:
    """More schedules than one transaction takes, all of each hour, seen at 08:00 for the first time."""
    rows = ", ".join(f"({row}, 1, '0 * * * *', 'UTC', TRUE)" for row in range(2, COUNT + 1))
    columns = "id, config_id, cron_expression, timezone, is_active"
    go.execute(f"INSERT INTO report_schedules ({columns}) VALUES {rows}")
    go.execute("UPDATE report_schedules SET cron_expression = '0 * * * *', timezone = 'UTC' WHERE id = 1")
    days = Days(hub, go)
    days.tick()
    return days


def launched(days: Days) -> set[int]:
    return {row["schedule_id"] for row in days.go.rows("SELECT schedule_id FROM report_executions")}


def test_more_than_one_transaction_of_schedules_is_decided_in_a_tick(days: Days) -> None:
    assert f"{COUNT} of {COUNT} schedules due" in days.tick(HOUR).message
    assert launched(days) == set(range(1, COUNT + 1))
    found = days.go.rows("SELECT DISTINCT next_run_at AS at FROM report_schedules")
    assert [str(row["at"])[:16] for row in found] == ["2025-01-31 10:00"]


def test_one_that_cannot_be_written_stops_no_other(days: Days) -> None:
    taken = scheduled_execution_id(7, MORNING + HOUR)
    days.go.insert("report_executions", id=taken, config_id=1, status="completed", executed_by="go")
    outcome = days.tick(HOUR)
    assert f"{COUNT - 1} of {COUNT} schedules due" in outcome.message
    assert "1 with a problem: schedule 7: the shared database does not take a value" in outcome.message
    assert launched(days) == {None, *range(1, COUNT + 1)} - {7}


def test_a_slot_that_has_its_fate_keeps_it(days: Days) -> None:
    days.go.insert(
        "reporthub_slots",
        schedule_id=7,
        slot="2025-01-31 09:00:00",
        state="skipped",
        decided_at=str(MORNING)[:19],
    )
    days.tick(HOUR)
    assert days.fates(7) == [("09:00", "skipped")]
    assert launched(days) == set(range(1, COUNT + 1)) - {7}


@ON_SERVERS
@pytest.mark.timeout(40)  # MariaDB gives up waiting for a lock after 50 s
def test_what_another_scheduler_is_deciding_is_passed_over_and_waited_for_by_nobody(days: Days) -> None:
    lock = text("SELECT * FROM reporthub_schedules WHERE schedule_id = 7 FOR UPDATE")
    with days.hub.engine.begin() as other:
        other.execute(lock)
        days.tick(HOUR)
        assert launched(days) == set(range(1, COUNT + 1)) - {7}
    days.tick()
    assert launched(days) == set(range(1, COUNT + 1))


@pytest.fixture
def newer_mariadb(mariadb_server: MariaDBServer) -> Iterator[None]:
    """What MariaDB 11.6 and later do unless they are told otherwise."""
    mariadb_server.execute("SET GLOBAL innodb_snapshot_isolation = ON")
    yield
    mariadb_server.execute("SET GLOBAL innodb_snapshot_isolation = OFF")


@pytest.mark.usefixtures("newer_mariadb")
@pytest.mark.parametrize("hub_url", ["mariadb"], indirect=True)
@pytest.mark.timeout(40)  # as above
def test_on_newer_mariadb_too(days: Days) -> None:
    test_what_another_scheduler_is_deciding_is_passed_over_and_waited_for_by_nobody(days)
