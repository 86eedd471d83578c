"""What a monitor is told: who lives, what is late, and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from click.testing import CliRunner

from reporthub_dagster.cli import main
from reporthub_dagster.db.circuits import Admission, Circuits
from reporthub_dagster.db.deliveries import DeliveryLedger
from reporthub_dagster.db.schedulers import Schedulers
from reporthub_dagster.db.session import Hub
from reporthub_dagster.reporting.breaker_policy import BreakerPolicy
from reporthub_dagster.status import REAPER_SENSOR, SCHEDULE_SENSOR, Limits, status_document
from reporthub_dagster_tests.db.scheduler_world import Days
from reporthub_dagster_tests.go_api import GoApi

LIMITS = Limits(timedelta(minutes=30), timedelta(seconds=10))
MINUTE = timedelta(minutes=1)
LONG_AGO = "2001-01-01 00:00:00.000"


@pytest.fixture
def days(hub: Hub, go: GoApi) -> Days:
    """Schedule 1 of each minute, seen for the first time two hours ago; both sensors have just ticked."""
    days = Days(hub, go, hub.now() - 120 * MINUTE)
    days.schedule(1, "*/10 * * * *", overlap="allow")
    days.tick()
    for sensor in (SCHEDULE_SENSOR, REAPER_SENSOR):
        Schedulers(hub).ticked("a", sensor, "ticked")
    return days


def status(days: Days) -> dict[str, Any]:
    return status_document(days.hub, LIMITS)


def ten_minutes(moment: datetime) -> datetime:
    return moment.replace(minute=moment.minute // 10 * 10, second=0, microsecond=0)


def silence(go: GoApi, sensor: str) -> None:
    go.execute("UPDATE reporthub_schedulers SET ticked_at = :at WHERE sensor = :s", at=LONG_AGO, s=sensor)


def test_all_is_well_when_the_sensors_tick_and_every_slot_is_done(days: Days) -> None:
    days.now = days.hub.now()
    (launch,) = days.tick().launches
    days.run(launch.execution_id)
    found = status(days)
    assert (found["ok"], found["problems"]) == (True, [])
    slots = found["slots_last_24_h"]
    assert slots["completed"] == 1
    assert slots["due"] == slots["completed"] + slots["coalesced"] == len(days.fates())
    assert [(one["scheduler"], one["alive"]) for one in found["schedulers"]] == [("a", True), ("a", True)]


@pytest.mark.parametrize("sensor", [SCHEDULE_SENSOR, REAPER_SENSOR])
def test_a_sensor_that_ticks_nowhere_is_a_problem_and_one_that_ticks_somewhere_is_none(
    days: Days, sensor: str
) -> None:
    days.now = days.hub.now()
    days.run(days.tick().launches[0].execution_id)
    silence(days.go, sensor)
    (problem,) = status(days)["problems"]
    assert problem.startswith(f"{sensor} lives nowhere")
    Schedulers(days.hub).ticked("b", sensor, "ticked")
    found = status(days)
    assert found["ok"]
    assert sorted(one["alive"] for one in found["schedulers"]) == [False, True, True]


def test_without_any_tick_the_monitor_is_told(hub: Hub, go: GoApi) -> None:
    problems = status_document(hub, LIMITS)["problems"]
    assert [text.split(":")[0] for text in problems] == [
        "report_schedule_sensor has never ticked",
        "execution_reaper_sensor has never ticked",
    ]


def test_a_due_slot_that_no_scheduler_decided_is_late(days: Days) -> None:
    due = ten_minutes(days.now + 10 * MINUTE)
    found = status(days)
    assert found["late_schedules"] == [{"schedule_id": 1, "due_at": due.isoformat()}]
    assert found["problems"][0].startswith(f"schedule 1, slot {due:%Y-%m-%d %H:%M} UTC: not decided for 1")
    days.go.execute("UPDATE report_schedules SET is_active = :no", no=False)
    assert status(days)["ok"]


def test_what_is_queued_or_running_for_too_long_is_late(days: Days) -> None:
    days.tick(60 * MINUTE)
    (execution,) = days.executions()
    (late,) = [text for text in status(days)["problems"] if "still" in text]
    slot = ten_minutes(days.now)
    assert late.startswith(f"schedule 1, slot {slot:%Y-%m-%d %H:%M} UTC: still queued after ")
    claim, plan = days.begin(execution["id"])
    (named,) = status(days)["late_executions"]
    assert (named["execution_id"], named["status"], named["slot"]) == (
        execution["id"],
        "running",
        slot.isoformat(),
    )
    days.end(claim, plan)
    assert status(days)["late_executions"] == []


def test_a_request_without_a_slot_is_late_too_and_another_programs_run_is_none_of_ours(days: Days) -> None:
    days.go.execute("UPDATE report_schedules SET is_active = :no", no=False)
    for status_word in ("running", "queued"):
        days.go.insert(
            "report_executions",
            id=f"go-{status_word}",
            config_id=1,
            status=status_word,
            executed_by="go",
            started_at=f"{datetime.now(UTC) - 40 * MINUTE:%Y-%m-%d %H:%M:%S}",
        )
    (problem,) = status(days)["problems"]
    assert problem.startswith("report_configs 1, asked for at ")
    assert problem.endswith("still queued after 40 min (execution go-queued)")


def test_silent_runs_and_waiting_retries_are_counted(days: Days) -> None:
    days.now = days.hub.now()
    days.begin(days.tick().launches[0].execution_id)
    assert (status(days)["leases_lost"], status(days)["retries_due"]) == (0, 0)
    days.go.execute("UPDATE reporthub_leases SET heartbeat_at = :at", at=LONG_AGO)
    assert status(days)["leases_lost"] == 1
    days.go.execute("UPDATE reporthub_leases SET run_id = ''")
    assert (status(days)["leases_lost"], status(days)["retries_due"]) == (0, 1)


def test_a_delivery_whose_next_attempt_has_come_is_a_retry_that_is_due(days: Days) -> None:
    days.now = days.hub.now()
    execution_id = days.tick().launches[0].execution_id
    days.begin(execution_id)
    days.go.execute("UPDATE reporthub_leases SET run_id = 'waiting'")
    entry = {"identity": "i", "delivery_id": 1, "recipient": "a", "state": "retry", "attempts": 1, "token": 1}
    days.go.insert("reporthub_deliveries", execution_id=execution_id, **entry)
    assert status(days)["retries_due"] == 0
    days.go.execute("UPDATE reporthub_deliveries SET next_attempt_at = :at", at=LONG_AGO)
    assert status(days)["retries_due"] == 1


def test_the_command_prints_one_document_and_its_exit_code_is_the_alert(
    days: Days, hub_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REPORTHUB_DATABASE_URL", hub_url)
    late = CliRunner().invoke(main, ["status", "--json"])
    assert (late.exit_code, json.loads(late.stdout)["ok"], late.stderr) == (1, False, "")
    assert "problem: schedule 1, slot" in CliRunner().invoke(main, ["status"]).stdout
    days.now = days.hub.now()
    days.run(days.tick().launches[0].execution_id)
    well = CliRunner().invoke(main, ["status"])
    assert (well.exit_code, well.stdout.splitlines()[-1]) == (0, "everything is on time")


def test_the_command_loads_no_dagster() -> None:
    look = "import sys, reporthub_dagster.cli; print([name for name in sys.modules if name == 'dagster'])"
    found = subprocess.run([sys.executable, "-c", look], check=True, capture_output=True, text=True)
    assert found.stdout == "[]\n"


def test_a_server_that_reports_wait_for_is_a_problem_until_it_answers(days: Days) -> None:
    days.now = days.hub.now()
    execution_id = days.tick().launches[0].execution_id
    claim, _ = days.begin(execution_id)
    circuits, server = Circuits(days.hub, BreakerPolicy(failures=1)), "sftp://files.test:22"
    away = circuits.failed(Admission(server), "no answer")
    assert away is not None
    assert status(days)["ok"], "nobody waits for it"
    DeliveryLedger(days.hub).open(claim, 1, ["a"], unanswered="unknown")
    circuits.put_off(claim, 1, ["a"], away, "not tried")
    found = status(days)
    (problem,) = found["problems"]
    assert problem.startswith(f"{server} has been away since ")
    assert problem.endswith("no answer; executions that wait for it: 1")
    assert [(one["server"], one["waiting"]) for one in found["servers_away"]] == [(server, 1)]
    circuits.answered(server)
    assert (status(days)["ok"], status(days)["servers_away"]) == (True, [])
