"""The sensor on a whole installation: rows of the hub become runs that do their work."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from reporthub_dagster.definitions import wiring
from reporthub_dagster.reporting.slots import scheduled_execution_id
from reporthub_dagster.resources import HubDatabase
from reporthub_dagster.sensors import report_schedule_sensor
from reporthub_dagster_tests.installation import World


def evaluate(world: World) -> Any:
    """One tick, as the daemon makes it."""
    with dg.build_sensor_context(
        instance=world.instance, definitions=wiring(), resources={"hub": HubDatabase()}
    ) as context:
        return report_schedule_sensor.evaluate_tick(context)


def test_the_sensor_runs_by_default_under_the_name_that_others_know() -> None:
    found = wiring().get_repository_def().get_sensor_def("report_schedule_sensor")
    assert found.default_status == dg.DefaultSensorStatus.RUNNING
    assert found.minimum_interval_seconds == 10


def test_a_queued_row_becomes_a_run_that_delivers(world: World) -> None:
    world.go.insert("report_executions", id="by-hand", config_id=1, status="queued", executed_by="go")
    tick = evaluate(world)
    (request,) = tick.run_requests
    # Of a tick that asks for runs Dagster shows no message, but its cursor.
    assert tick.cursor == "0 of 1 schedules due; 1 run asked for"
    assert request.run_key == "by-hand:1"
    assert request.run_config == {"ops": {"compute_time_range": {"config": {"execution_id": "by-hand"}}}}
    assert {name: request.tags[name] for name in request.tags if name.startswith("reporthub/")} == {
        "reporthub/execution_id": "by-hand",
        "reporthub/config_id": "1",
        "reporthub/datasource_id": "1",
        "reporthub/executed_by": "go",
    }
    assert world.execute(request.run_config, tags=request.tags).success
    assert world.execution("by-hand")["status"] == "completed"
    assert evaluate(world).skip_message == "0 of 1 schedules due; 0 runs asked for"


def test_a_due_slot_becomes_a_run_whose_window_ends_at_the_slot(world: World) -> None:
    assert evaluate(world).run_requests == []
    minute = timedelta(minutes=1)
    past = datetime.now(UTC).replace(microsecond=0) - 2 * minute
    slot = past.replace(second=0) + 2 * minute
    world.go.execute("UPDATE report_schedules SET cron_expression = '* * * * *'")
    evaluate(world)
    # As if the last tick had been two minutes ago.
    world.go.execute(
        "UPDATE reporthub_schedules SET decided_through = :past, due_at = :past",
        past=f"{past:%Y-%m-%d %H:%M:%S}",
    )
    (request,) = evaluate(world).run_requests
    ids = {scheduled_execution_id(1, slot + late) for late in (-minute, 0 * minute, minute)}
    assert request.tags["reporthub/execution_id"] in ids
    assert request.tags["reporthub/schedule_id"] == "1"
    assert world.execute(request.run_config, tags=request.tags).success
    row = world.execution(request.tags["reporthub/execution_id"])
    context = row["execution_context"]
    assert row["status"] == "completed"
    assert context["time_range"]["end"] == context["time_range"]["as_of"] == context["slot"]
    last_run = world.go.row("SELECT last_run_at FROM report_schedules")["last_run_at"]
    assert str(last_run)[:16] == context["slot"][:16].replace("T", " ")


def test_a_run_that_waits_in_dagsters_queue_is_seen(world: World) -> None:
    world.go.insert("report_executions", id="by-hand", config_id=1, status="queued", executed_by="go")
    (request,) = evaluate(world).run_requests
    job = wiring().resolve_job_def("execute_report")
    run = world.instance.create_run_for_job(
        job, run_config=request.run_config, tags=request.tags, status=dg.DagsterRunStatus.NOT_STARTED
    )
    hour_ago = f"{datetime.now(UTC) - timedelta(hours=1):%Y-%m-%d %H:%M:%S}"
    world.go.execute("UPDATE reporthub_launches SET requested_at = :at", at=hour_ago)
    assert evaluate(world).run_requests == []
    world.instance.report_run_canceled(run)
    world.go.execute("UPDATE reporthub_launches SET requested_at = :at", at=hour_ago)
    (again,) = evaluate(world).run_requests
    assert again.run_key == "by-hand:2"


@pytest.mark.parametrize("world", ["sqlite"], indirect=True)
def test_the_tick_says_what_is_wrong_with_a_schedule(world: World) -> None:
    world.go.execute("UPDATE report_schedules SET timezone = 'Mars/Base'")
    found = evaluate(world).skip_message
    assert "1 with a problem: schedule 1: report_schedules 1, column timezone: unknown time zone" in found


@pytest.mark.parametrize("world", ["sqlite"], indirect=True)
def test_a_slot_whose_rows_a_manual_run_took_ends_cancelled_and_says_so(world: World) -> None:
    world.go.execute("UPDATE report_schedules SET cron_expression = '* * * * *'")
    evaluate(world)
    minute_ago = f"{datetime.now(UTC) - timedelta(minutes=1):%Y-%m-%d %H:%M:%S}"
    world.go.execute("UPDATE reporthub_schedules SET decided_through = :at, due_at = :at", at=minute_ago)
    (request,) = evaluate(world).run_requests
    assert world.run(config_id=1, schedule_id=1, deliver="all").success
    mails = len(world.mail.mails)
    assert world.execute(request.run_config, tags=request.tags).success
    row = world.execution(request.tags["reporthub/execution_id"])
    assert (row["status"], row["file_generated_path"]) == ("cancelled", None)
    assert "nothing is left for a window that ends at" in row["error_message"]
    assert len(world.mail.mails) == mails
