"""A machine whose clock is minutes off: slots, windows, leases and outcomes go by the database's."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, ClassVar, Self

import dagster as dg
import pytest

from reporthub_dagster.definitions import wiring
from reporthub_dagster.reaper_sensor import execution_reaper_sensor
from reporthub_dagster.resources import HubDatabase
from reporthub_dagster.sensors import report_schedule_sensor
from reporthub_dagster_tests.installation import World

CLOSE = timedelta(seconds=90)
"""Longer than a slow test takes, shorter than the skew."""
RIGHT = datetime


class AnyDatetime(type):
    """Makes every datetime an instance of its class."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, RIGHT)


class Skewed(datetime, metaclass=AnyDatetime):
    """A datetime of a machine whose clock is off."""

    skew: ClassVar = timedelta()

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        return super().now(tz) + cls.skew


@pytest.fixture(params=[-5, 5], ids=["behind", "ahead"])
def _skewed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every module of ours reads a clock that is five minutes off; SQLite's own stays right."""
    monkeypatch.setattr(Skewed, "skew", timedelta(minutes=request.param))
    for name, module in list(sys.modules.items()):
        if name.startswith("reporthub_dagster.") and getattr(module, "datetime", None) is RIGHT:
            monkeypatch.setattr(module, "datetime", Skewed)


def context(world: World) -> dg.SensorEvaluationContext:
    return dg.build_sensor_context(
        instance=world.instance, definitions=wiring(), resources={"hub": HubDatabase()}
    )


def tick(world: World) -> list[dg.RunRequest]:
    with context(world) as of:
        requests = report_schedule_sensor.evaluate_tick(of).run_requests or ()
    with context(world) as of:
        execution_reaper_sensor(of)
    return list(requests)


def is_now(moment: Any) -> bool:
    return abs(datetime.fromisoformat(str(moment)[:19]).replace(tzinfo=UTC) - datetime.now(UTC)) < CLOSE


@pytest.mark.usefixtures("_skewed")
@pytest.mark.parametrize("world", ["sqlite"], indirect=True)
def test_a_clock_that_is_minutes_off_moves_nothing(world: World) -> None:
    world.go.execute("UPDATE report_schedules SET cron_expression = '* * * * *'")
    tick(world)
    minute_ago = f"{datetime.now(UTC) - timedelta(minutes=1):%F %T}"
    world.go.execute("UPDATE reporthub_schedules SET decided_through = :at, due_at = :at", at=minute_ago)
    (request,) = tick(world)
    assert world.execute(dict(request.run_config), tags=request.tags).success
    row = world.execution(request.tags["reporthub/execution_id"])
    assert row["status"] == "completed"
    assert is_now(row["execution_context"]["slot"].replace("T", " "))
    assert is_now(row["started_at"])
    assert is_now(row["completed_at"])
    result = world.run(config_id=1, schedule_id=1)
    assert world.execution(result.run_id)["status"] in {"completed", "cancelled"}
    assert is_now(world.go.row("SELECT last_run_at FROM report_schedules")["last_run_at"])
    assert tick(world) == [] or is_now(world.go.row("SELECT max(slot) AS at FROM reporthub_slots")["at"])
    leases = world.go.rows("SELECT attempts, run_id FROM reporthub_leases")
    assert all(lease["attempts"] == 0 and lease["run_id"] for lease in leases)
