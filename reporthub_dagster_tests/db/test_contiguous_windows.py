"""However runs fail, come late or are asked for by people: no moment is in two windows or in none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reporthub_dagster.db.executions import Executions
from reporthub_dagster.db.leases import Leases
from reporthub_dagster.db.session import Hub
from reporthub_dagster.reaping import Fate, Reaper
from reporthub_dagster.reporting.records import TimeWindow
from reporthub_dagster.reporting.time_window import NothingLeftError
from reporthub_dagster_tests.db.scheduler_world import MORNING, Days
from reporthub_dagster_tests.go_api import GoApi

SEQUENCES = 50
HAPPENINGS = ("success", "failure", "retry", "late", "crash", "manual", "manual failure", "beside")
steps = st.lists(
    st.tuples(
        st.integers(0, 170),  # minutes to the next tick: some see no slot, some see three at once
        st.sampled_from(HAPPENINGS),
    ),
    min_size=1,
    max_size=8,
)


@dataclass
class History:
    """What happens to the schedule, and the moment up to which its rows have gone out.

    `reach` is worked out from the windows alone; the schedule's `last_run_at` must agree with it.
    """

    days: Days
    reach: datetime | None = None
    failed: list[str] = field(default_factory=list)
    ids: Iterator[int] = field(default_factory=count)

    def done(self, window: TimeWindow, *, again: bool = False) -> None:
        """A window's file has been made; `again`: it was decided before others had their turn."""
        if again:
            assert self.reach is None or window.start <= self.reach, "a gap"
        else:
            assert self.reach in {None, window.start}, "a gap or an overlap"
        assert window.start < window.end
        self.reach = max(self.reach or window.end, window.end)

    def attempt(self, execution_id: str, outcome: str, *, again: bool = False) -> None:
        try:
            claim, plan = self.days.begin(execution_id, f"run{next(self.ids)}")
        except NothingLeftError:
            self.days.end_covered(execution_id)
            assert self.reach is not None
            return
        if outcome == "crash":
            self.crash()
            (execution_id,) = [one.execution_id for one in self.days.tick().launches]
            claim, same = self.days.begin(execution_id, f"run{next(self.ids)}")
            assert same.window == plan.window
        if outcome == "beside":
            self.manual("success")
            again = True
        self.days.end(claim, plan, "failed" if "failure" in outcome else "completed")
        if "failure" in outcome:
            self.failed.append(execution_id)
        else:
            self.done(plan.window, again=again)

    def crash(self) -> None:
        """The process of the run that is at work is gone, and the reaper has noticed."""
        reaper = Reaper(Leases(self.days.hub), 99, lambda ids: {one: Fate("crashed") for one in ids})
        (verdict,) = reaper.reap(self.days.now)
        assert verdict.status == "queued"
        # The hub's clock is not the test's.
        now = f"{self.days.now:%F %T}.000"
        self.days.go.execute("UPDATE reporthub_leases SET heartbeat_at = :now", now=now)
        self.days.go.execute("DELETE FROM reporthub_launches")

    def manual(self, outcome: str) -> None:
        """A person runs the report of the schedule now, without a window."""
        execution_id = f"manual-{next(self.ids)}"
        self.days.ask(execution_id)
        self.attempt(execution_id, outcome)

    def happen(self, happening: str, launched: list[str]) -> None:
        if happening == "retry" and self.failed:
            self.attempt(self.failed.pop(), "success", again=True)
        if happening.startswith("manual"):
            self.manual(happening)
        outcome = happening if happening in {"failure", "crash", "beside"} else "success"
        while launched and happening != "late":
            for execution_id in launched:
                self.attempt(execution_id, outcome)
            launched = [launch.execution_id for launch in self.days.tick().launches]
            outcome = "success"


@pytest.fixture(scope="module")
def days() -> Iterator[Days]:
    hub = Hub("sqlite://", ZoneInfo("UTC"))
    hub.create_missing_tables()
    go = GoApi.over(hub.engine)
    go.insert("report_datasources", id=1, name="sales", connection_url="sqlite:///x", db_type="mysql")
    go.insert("report_configs", id=1, report_name="Sales", report_query="SELECT 1", datasource_id=1)
    go.insert("report_schedules", id=1, config_id=1, cron_expression="0 * * * *")
    yield Days(hub, go)
    hub.close()


@settings(max_examples=SEQUENCES, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    happenings=steps,
    catch_up=st.sampled_from(["latest", "all", "skip"]),
    overlap=st.sampled_from(["queue", "skip"]),
)
def test_windows_of_a_schedule_follow_each_other(
    days: Days, happenings: list[tuple[int, str]], catch_up: str, overlap: str
) -> None:
    days.forget_all()
    days.parameters(1, {"schedule": {"catch_up": catch_up, "overlap": overlap, "misfire_grace_minutes": 30}})
    days.tick()
    history = History(days)
    waiting: list[str] = []
    for minutes, happening in happenings:
        asked_for = [launch.execution_id for launch in days.tick(timedelta(minutes=minutes)).launches]
        waiting = list(dict.fromkeys([*waiting, *asked_for]))  # after a minute they are asked for again
        history.happen(happening, waiting)
        if happening != "late":
            waiting = []
        row = days.go.row("SELECT last_run_at FROM report_schedules")
        assert (row["last_run_at"] or "")[:19] == (f"{history.reach:%F %T}" if history.reach else "")


def test_a_manual_run_takes_the_rows_of_a_slot_that_still_waits_and_the_slot_says_so(days: Days) -> None:
    days.forget_all()
    days.parameters(1, {})
    days.tick()
    days.run(days.tick(timedelta(hours=1)).launches[0].execution_id)
    (late,) = days.tick(timedelta(hours=1, minutes=5)).launches
    days.ask("manual")
    assert days.run("manual").end == MORNING + timedelta(hours=2, minutes=5)
    with pytest.raises(NothingLeftError, match="all rows up to 2025-01-31 10:05:00 UTC"):
        days.begin(late.execution_id)
    days.end_covered(late.execution_id)
    (following,) = days.tick(timedelta(hours=1)).launches
    window = days.run(following.execution_id)
    assert (window.start, window.end) == (
        MORNING + timedelta(hours=2, minutes=5),
        MORNING + timedelta(hours=3),
    )
    assert Executions(days.hub).find(late.execution_id) is not None
