from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from reporthub_dagster.backfilling import BackfillRequest, plan_backfill, queue_backfill
from reporthub_dagster.db.backfills import Backfills
from reporthub_dagster.db.executions import Executions
from reporthub_dagster.db.leases import Leases
from reporthub_dagster.db.queue import ExecutionQueue
from reporthub_dagster.db.session import Hub
from reporthub_dagster.reporting.errors import ConfigurationError
from reporthub_dagster_tests.go_api import GoApi

NOW = datetime(2025, 3, 1, tzinfo=UTC)


def queue(hub: Hub, backfill_id: str = "b", *, start: str = "2025-01-01", end: str = "2025-01-05") -> int:
    request = BackfillRequest(backfill_id, 1, start, end, executed_by="ana")
    return queue_backfill(hub, plan_backfill(hub, request, now=NOW, default_timezone="UTC"), NOW)


def test_what_is_queued_twice_is_there_once(hub: Hub, go: GoApi) -> None:
    assert (queue(hub), queue(hub), queue(hub, end="2025-01-07")) == (4, 0, 2)
    assert len(go.rows("SELECT id FROM report_executions")) == 6
    assert queue(hub, "another") == 4


def test_what_is_due_comes_before_the_past(hub: Hub, go: GoApi) -> None:
    queue(hub)
    go.insert(
        "report_executions",
        id="due",
        config_id=1,
        status="queued",
        started_at="2025-02-28 00:00:00",
        executed_by="x",
    )
    go.execute("UPDATE report_executions SET started_at = '2025-01-01 00:00:00' WHERE id <> 'due'")
    waiting = ExecutionQueue(hub).waiting()
    assert [(one.id == "due", one.is_backfill) for one in waiting[:2]] == [(True, False), (False, True)]
    assert ExecutionQueue(hub).unfinished([1], NOW) == []


def test_a_long_queue_hides_no_dead_run_from_the_reaper(hub: Hub, go: GoApi) -> None:
    assert queue(hub, start="2023-01-01", end="2024-12-31") > 500
    executions = Executions(hub)
    executions.add("e", config_id=1, schedule_id=None, executed_by="x", at=NOW + timedelta(days=1))
    executions.claim("e", "run-1", after=None, from_status="running", at=NOW)
    assert [one.id for one in Leases(hub).open_executions()] == ["e"]


def test_progress_and_totals_are_of_the_backfill_and_cancelling_leaves_what_is_done(
    hub: Hub, go: GoApi
) -> None:
    queue(hub)
    queue(hub, "another")
    ids = [
        row["execution_id"] for row in go.rows("SELECT * FROM reporthub_backfills WHERE backfill_id = 'b'")
    ]
    done = (
        "UPDATE report_executions SET status = :status, rows_returned = 7, file_size_bytes = 11 "
        "WHERE id = :id"
    )
    go.execute(done, status="completed", id=ids[0])
    go.execute(done, status="running", id=ids[1])
    waited, to_end = Backfills(hub).cancel("b", NOW)
    assert (waited, set(to_end)) == (2, set(ids[1:]))
    found = {
        row.status: (row.executions, int(row.rows), int(row.bytes)) for row in Backfills(hub).progress("b")
    }
    assert found == {"cancelled": (2, 0, 0), "completed": (1, 7, 11), "running": (1, 7, 11)}
    assert {(row.backfill_id, row.status) for row in Backfills(hub).progress()} >= {("another", "queued")}


def test_a_report_with_several_schedules_needs_one_and_without_any_gets_days(hub: Hub, go: GoApi) -> None:
    go.execute("UPDATE report_schedules SET is_active = :no", no=False)
    assert queue(hub) == 4
    windows = go.rows("SELECT execution_context FROM report_executions")
    assert {row["execution_context"]["time_range"]["timezone"] for row in windows} == {"UTC"}
    go.execute("UPDATE report_schedules SET is_active = :yes", yes=True)
    go.insert("report_schedules", id=2, config_id=1, cron_expression="0 9 * * *", timezone="UTC")
    with pytest.raises(ConfigurationError, match="several schedules; valid: 1, 2"):
        queue(hub)
