"""However runs fail or come late: no moment of a schedule is in two windows or in none."""

from __future__ import annotations

import shutil
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reporthub_dagster.db.executions import Outcome
from reporthub_dagster.db.session import Hub
from reporthub_dagster_tests.db.scheduler_world import MORNING, Days
from reporthub_dagster_tests.go_api import GoApi

steps = st.lists(
    st.tuples(
        st.integers(5, 170),  # minutes to the next tick: some see no slot, some see three at once
        st.sampled_from(["runs", "fails", "waits"]),
    ),
    min_size=1,
    max_size=8,
)


@pytest.fixture(scope="module")
def empty_hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("contiguous") / "empty.db"
    hub = Hub(f"sqlite:///{path}", ZoneInfo("UTC"))
    hub.create_missing_tables()
    go = GoApi(f"sqlite:///{path}")
    go.insert("report_datasources", id=1, name="sales", connection_url="sqlite:///x", db_type="mysql")
    go.insert("report_configs", id=1, report_name="Sales", report_query="SELECT 1", datasource_id=1)
    go.insert("report_schedules", id=1, config_id=1, cron_expression="0 * * * *")
    go.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    go.close()
    hub.close()
    return path


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    happenings=steps,
    catch_up=st.sampled_from(["latest", "all", "skip"]),
    overlap=st.sampled_from(["queue", "skip"]),
)
def test_windows_of_a_schedule_follow_each_other(
    empty_hub: Path, happenings: list[tuple[int, str]], catch_up: str, overlap: str
) -> None:
    path = empty_hub.with_name("hub.db")
    shutil.copy(empty_hub, path)
    hub, go = Hub(f"sqlite:///{path}", ZoneInfo("UTC")), GoApi(f"sqlite:///{path}")
    days = Days(hub, go)
    days.schedule(1, catch_up=catch_up, overlap=overlap, misfire_grace_minutes=30)
    days.tick()
    done = []
    for minutes, happening in happenings:
        launches = list(days.tick(timedelta(minutes=minutes)).launches)
        while launches and happening != "waits":
            outcome: Outcome = "completed" if happening == "runs" else "failed"
            windows = [days.run(launch.execution_id, outcome) for launch in launches]
            done += windows if happening == "runs" else []
            launches = list(days.tick().launches)
    hub.close()
    go.close()
    for file in path.parent.glob("hub.db*"):
        file.unlink()
    assert all(earlier.end == later.start for earlier, later in pairwise(done))
    assert all(window.start < window.end for window in done)
    if done:
        assert done[0].start >= MORNING - timedelta(hours=1)
