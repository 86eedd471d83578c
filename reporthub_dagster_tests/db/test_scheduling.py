"""Due slots become executions, exactly once; whatever waits gets a run; one fault stops nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from reporthub_dagster.db.executions import Executions
from reporthub_dagster.db.queue import ExecutionQueue
from reporthub_dagster.db.session import Hub
from reporthub_dagster.launching import MOST_ATTEMPTS, MOST_LAUNCHES
from reporthub_dagster.reporting.slots import scheduled_execution_id
from reporthub_dagster.scheduling import Scheduler
from reporthub_dagster_tests.db.scheduler_world import MORNING, Days
from reporthub_dagster_tests.go_api import GoApi
from reporthub_dagster_tests.servers.mariadb import MariaDBDatabase

HOUR, MINUTE, SECOND = timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)


@pytest.fixture
def days(hub: Hub, go: GoApi) -> Days:
    days = Days(hub, go)
    days.schedule(1)
    return days


@pytest.fixture
def seen(days: Days) -> Days:
    """Schedule 1, every hour, seen at 08:00 for the first time."""
    days.tick()
    return days


def test_a_due_slot_becomes_one_execution_that_ends_at_the_slot(seen: Days) -> None:
    outcome = seen.tick(HOUR + 7 * MINUTE)

    (launch,) = outcome.launches
    (execution,) = seen.executions()
    assert launch.execution_id == execution["id"] == scheduled_execution_id(1, MORNING + HOUR)
    assert (launch.run_key, launch.datasource_id) == (f"{execution['id']}:1", 1)
    assert (execution["status"], execution["executed_by"]) == ("queued", "schedule")
    assert execution["execution_context"] == {"slot": "2025-01-31T09:00:00+00:00"}
    window = seen.run(launch.execution_id)
    assert (window.start, window.end, window.as_of) == (MORNING, MORNING + HOUR, MORNING + HOUR)
    assert outcome.message == "1 of 1 schedules due; 1 run asked for"


def test_a_tick_with_nothing_due_writes_nothing(seen: Days) -> None:
    outcome = seen.tick(59 * MINUTE)
    assert (outcome.launches, outcome.message) == ((), "0 of 1 schedules due; 0 runs asked for")
    assert seen.fates() == []


def test_a_second_tick_asks_for_nothing_again(seen: Days) -> None:
    seen.tick(HOUR)
    assert seen.tick().launches == ()
    assert seen.tick(30 * SECOND).launches == ()
    assert seen.fates() == [("09:00", "launched")]


def test_the_next_run_is_written_and_nobody_seems_to_have_edited_the_schedule(seen: Days) -> None:
    seen.go.execute("UPDATE report_schedules SET updated_at = '2020-01-01 00:00:00', updated_by = 'ana'")
    seen.tick(HOUR)
    row = seen.go.row("SELECT next_run_at, updated_at, updated_by FROM report_schedules")
    assert str(row["next_run_at"])[:19] == "2025-01-31 10:00:00"
    assert (str(row["updated_at"])[:4], row["updated_by"]) == ("2020", "ana")


def test_a_new_schedule_does_not_replay_the_past(days: Days) -> None:
    days.tick(59 * MINUTE)
    assert days.fates() == []
    assert len(days.tick(MINUTE).launches) == 1
    assert days.fates() == [("09:00", "launched")]


@pytest.mark.parametrize("column", ["cron_expression = '*/10 * * * *'", "timezone = 'Asia/Jakarta'"])
def test_an_edited_schedule_does_not_replay_the_past(seen: Days, column: str) -> None:
    seen.go.execute(f"UPDATE report_schedules SET {column}")
    assert seen.tick(5 * HOUR).launches == ()
    assert seen.fates() == []
    assert len(seen.tick(HOUR).launches) == 1


@pytest.mark.parametrize("table", ["report_schedules", "report_configs"])
def test_a_reactivated_schedule_does_not_replay_the_past(seen: Days, table: str) -> None:
    switch = f"UPDATE {table} SET is_active = :yes"
    seen.go.execute(switch, yes=False)
    assert seen.tick(HOUR).message == "0 of 0 schedules due; 0 runs asked for"
    seen.go.execute(switch, yes=True)
    assert seen.tick(5 * HOUR).launches == ()
    assert seen.fates() == []
    assert len(seen.tick(HOUR).launches) == 1


@pytest.mark.parametrize(
    ("catch_up", "states"),
    [
        ("latest", ["coalesced", "coalesced", "launched"]),
        ("all", ["launched", "launched", "launched"]),
        ("skip", ["skipped", "skipped", "skipped"]),
    ],
)
def test_three_hours_of_downtime_under_each_catch_up(days: Days, catch_up: str, states: list[str]) -> None:
    days.schedule(1, catch_up=catch_up, misfire_grace_minutes=10)
    days.tick()
    days.tick(3 * HOUR + 30 * MINUTE)
    assert [state for _, state in days.fates()] == states


def test_latest_reaches_back_over_the_whole_downtime(seen: Days) -> None:
    seen.run(seen.tick(HOUR).launches[0].execution_id)
    window = seen.run(seen.tick(5 * HOUR).launches[0].execution_id)
    assert (window.start, window.end) == (MORNING + HOUR, MORNING + 6 * HOUR)


def test_all_runs_the_missed_slots_one_after_the_other(days: Days) -> None:
    days.schedule(1, catch_up="all")
    days.tick()
    outcome = days.tick(3 * HOUR)
    assert "2 held back by an earlier execution" in outcome.message
    windows = [days.run(outcome.launches[0].execution_id)]
    while launches := days.tick().launches:
        windows += [days.run(launch.execution_id) for launch in launches]
    hours = [MORNING + count * HOUR for count in range(4)]
    assert [(window.start, window.end) for window in windows] == list(pairwise(hours))


def test_overlap_queue_waits_for_the_earlier_execution(seen: Days) -> None:
    claim, plan = seen.begin(seen.tick(HOUR).launches[0].execution_id)
    assert seen.tick(HOUR).launches == ()
    seen.end(claim, plan)
    (launch,) = seen.tick().launches
    assert seen.run(launch.execution_id).start == MORNING + HOUR


def test_overlap_queue_waits_for_a_run_of_the_schedule_that_a_person_started(seen: Days) -> None:
    executions = Executions(seen.hub)
    executions.add("manual", config_id=1, schedule_id=1, executed_by="ana", at=seen.now + HOUR)
    claim = executions.claim("manual", "r", after=None, from_status="running", at=seen.now)
    assert claim is not None
    assert seen.tick(HOUR).launches == ()
    executions.finish(claim, "failed", at=seen.now)
    assert len(seen.tick().launches) == 1


def test_what_another_program_left_running_long_ago_holds_nothing_back(seen: Days) -> None:
    seen.go.insert(
        "report_executions",
        id="old",
        config_id=1,
        schedule_id=1,
        status="running",
        started_at="2024-12-24 00:00:00",
        executed_by="engine",
    )
    assert len(seen.tick(HOUR).launches) == 1


def test_overlap_skip_leaves_the_slot_out_and_the_next_one_reaches_back(days: Days) -> None:
    days.schedule(1, overlap="skip")
    days.tick()
    claim, plan = days.begin(days.tick(HOUR).launches[0].execution_id)
    outcome = days.tick(HOUR)
    assert "1 skipped: overlap: an earlier execution is not over, schedule 1" in outcome.message
    days.end(claim, plan)
    (launch,) = days.tick(HOUR).launches
    assert days.fates() == [("09:00", "launched"), ("10:00", "skipped"), ("11:00", "launched")]
    assert days.run(launch.execution_id).start == MORNING + HOUR


def test_overlap_allow_runs_side_by_side_in_windows_that_do_not_overlap(days: Days) -> None:
    days.schedule(1, overlap="allow")
    days.tick()
    (first, second, third) = (days.tick(HOUR, in_flight=set).launches[0].execution_id for _ in range(3))
    claim, late = days.begin(first)
    windows = [days.run(third), days.run(second), late.window]
    days.end(claim, late)
    hours = [MORNING + count * HOUR for count in range(4)]
    assert sorted((one.start, one.end) for one in windows) == list(pairwise(hours))
    fourth = days.run(days.tick(HOUR).launches[0].execution_id)
    assert fourth.start == hours[-1]


def test_jitter_starts_later_and_leaves_the_window_alone(days: Days) -> None:
    days.schedule(1, jitter_seconds=600)
    days.tick()
    waited = 0
    while not (launches := days.tick(HOUR if waited == 0 else MINUTE).launches):
        waited += 1
        assert waited <= 10
    assert waited > 0
    assert days.run(launches[0].execution_id).end == MORNING + HOUR


@pytest.mark.parametrize(
    ("zone", "day"),
    [
        (zone, datetime(2025, month, day))  # noqa: DTZ001 - wall time
        for zone, month, day in (
            ("Europe/Berlin", 3, 30),
            ("Europe/Berlin", 10, 26),
            ("America/New_York", 3, 9),
            ("America/New_York", 11, 2),
        )
    ],
)
def test_a_nightly_report_runs_once_in_the_night_the_clock_changes(
    days: Days, zone: str, day: datetime
) -> None:
    days.schedule(1, "30 1,2 * * *", zone)
    days.now = day.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    days.tick()
    launched = 0
    for _ in range(12):
        for launch in days.tick(30 * MINUTE).launches:
            days.run(launch.execution_id)
            launched += 1
    assert launched == len(days.fates()) == len(days.executions()) == 2


def test_slots_of_an_hour_that_comes_twice_are_two_slots(hub_url: str) -> None:
    hub = Hub(hub_url, ZoneInfo("UTC"))
    hub.create_missing_tables()
    hub.close()
    if hub_url.startswith("sqlite"):
        hub = Hub(hub_url, ZoneInfo("Europe/Berlin"))  # the servers of the tests have no zone tables loaded
    go = GoApi(hub.engine.url.render_as_string(hide_password=False))
    go.insert("report_datasources", id=1, name="sales", connection_url="sqlite:///x", db_type="mysql")
    go.insert("report_configs", id=1, report_name="Sales", report_query="SELECT 1", datasource_id=1)
    go.insert("report_schedules", id=1, config_id=1, cron_expression="30 * * * *", timezone="Europe/Berlin")
    days = Days(hub, go, datetime(2025, 10, 25, 23, 45, tzinfo=UTC))
    days.tick()
    for _ in range(3):
        days.tick(HOUR)
    fates = days.fates()
    go.close()
    hub.close()
    assert fates == [("00:30", "launched"), ("01:30", "launched"), ("02:30", "launched")]


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE report_schedules SET cron_expression = '61 * * * *' WHERE id = 2", "minute takes 0-59"),
        ("UPDATE report_schedules SET timezone = 'Mars/Base' WHERE id = 2", "unknown time zone"),
        (
            """UPDATE report_configs SET parameters = '{"schedule": {"overlap": "x"}}' WHERE id = 2""",
            "overlap",
        ),
        ("UPDATE report_configs SET parameters = '[1]' WHERE id = 2", "not a JSON object"),
    ],
)
@pytest.mark.parametrize("when", ["from-the-start", "later"])
def test_a_broken_schedule_is_reported_once_and_stops_no_other(
    days: Days, statement: str, words: str, when: str
) -> None:
    days.schedule(2)
    if when == "from-the-start":
        days.go.execute(statement)
    days.tick()
    days.go.execute(statement)
    outcome = [days.tick(HOUR) for _ in range(3)][-1]
    assert "1 with a problem: schedule 2: report_" in outcome.message
    assert words in outcome.message
    (row,) = days.go.rows("SELECT * FROM reporthub_slots WHERE schedule_id = 2")
    assert (row["state"], row["execution_id"]) == ("skipped", None)
    assert words in row["reason"]
    assert len(days.fates(1)) == 3


def test_a_repaired_schedule_does_not_replay_what_it_missed(seen: Days) -> None:
    seen.parameters(1, {"schedule": {"catch_up": "never"}})
    seen.tick(HOUR)
    seen.parameters(1, {})
    assert seen.tick(3 * HOUR).launches == ()
    assert len(seen.tick(HOUR).launches) == 1
    assert [state for _, state in seen.fates()] == ["skipped", "launched"]


def test_one_poison_schedule_in_a_thousand(hub: Hub, go: GoApi) -> None:
    columns = "id, config_id, cron_expression, timezone, is_active"
    rows = ", ".join(f"({row}, 1, '0 * * * *', 'UTC', TRUE)" for row in range(2, 1001))
    go.execute(f"INSERT INTO report_schedules ({columns}) VALUES {rows}")
    go.execute("UPDATE report_schedules SET cron_expression = 'poison' WHERE id = 500")
    go.execute("UPDATE report_schedules SET cron_expression = '0 * * * *', timezone = 'UTC' WHERE id = 1")
    days = Days(hub, go)
    days.tick()
    outcome = days.tick(HOUR)
    assert len(outcome.launches) == MOST_LAUNCHES
    assert "999 of 1,000 schedules due" in outcome.message
    assert go.row("SELECT count(*) AS n FROM report_executions WHERE status = 'queued'") == {"n": 999}


def test_a_queued_row_that_anybody_inserted_gets_a_run(seen: Days) -> None:
    seen.go.insert("report_executions", id="by-hand", config_id=1, status="queued", executed_by="go")
    (launch,) = seen.tick().launches
    assert (launch.execution_id, launch.schedule_id, launch.executed_by) == ("by-hand", None, "go")


def test_what_was_wanted_first_runs_first_and_fifty_at_a_time(seen: Days) -> None:
    for number in range(60):
        started = f"2025-01-31 07:{59 - number:02d}:00"
        seen.go.insert(
            "report_executions",
            id=f"e-{number:02d}",
            config_id=1,
            status="queued",
            started_at=started,
            executed_by="go",
        )
    first, second = seen.tick(), seen.tick()
    assert [launch.execution_id for launch in first.launches] == [f"e-{n:02d}" for n in range(59, 9, -1)]
    assert [launch.execution_id for launch in second.launches] == [f"e-{n:02d}" for n in range(9, -1, -1)]


def test_a_run_that_never_claimed_is_asked_for_again_and_given_up_in_the_end(seen: Days) -> None:
    seen.go.insert("report_executions", id="e", config_id=1, status="queued", executed_by="go")
    keys = [launch.run_key for _ in range(8) for launch in seen.tick(61 * SECOND).launches]
    assert keys == [f"e:{attempt}" for attempt in range(1, MOST_ATTEMPTS + 1)]
    row = seen.go.row("SELECT status, error_message FROM report_executions WHERE id = 'e'")
    assert row["status"] == "failed"
    assert row["error_message"].startswith("5 runs were asked for and none of them began")


def test_a_run_that_waits_in_dagsters_queue_is_not_asked_for_again(seen: Days) -> None:
    seen.go.insert("report_executions", id="e", config_id=1, status="queued", executed_by="go")
    assert len(seen.tick().launches) == 1
    for _ in range(10):
        assert seen.tick(40 * SECOND, in_flight=set).launches == ()
    assert seen.tick(61 * SECOND).launches[0].run_key == "e:2"


def test_a_claimed_execution_is_not_asked_for_again(seen: Days) -> None:
    seen.go.insert("report_executions", id="e", config_id=1, status="queued", executed_by="go")
    seen.tick()
    seen.begin("e")
    assert seen.tick(HOUR - MINUTE).launches == ()


def test_a_status_column_without_queued_still_runs_each_slot_once(mysql_or_mariadb: MariaDBDatabase) -> None:
    go = GoApi(mysql_or_mariadb.url)
    go.create_tables()
    words = "ENUM('running','completed','failed','cancelled') NOT NULL DEFAULT 'running'"
    go.execute(f"ALTER TABLE report_executions MODIFY status {words}")
    go.insert("report_datasources", id=1, name="sales", connection_url="sqlite:///x", db_type="mysql")
    go.insert("report_configs", id=1, report_name="Sales", report_query="SELECT 1", datasource_id=1)
    go.insert("report_schedules", id=1, config_id=1, cron_expression="0 * * * *")
    hub = Hub(mysql_or_mariadb.url, ZoneInfo("UTC"))
    hub.create_missing_tables()
    days = Days(hub, go)
    days.tick()
    (launch,) = days.tick(HOUR).launches
    assert days.executions()[0]["status"] == "running"
    assert days.tick(30 * SECOND).launches == ()
    (again,) = days.tick(31 * SECOND).launches
    assert (again.execution_id, again.attempt) == (launch.execution_id, 2)
    claim, plan = days.begin(launch.execution_id)
    assert plan.window.end == MORNING + HOUR
    assert days.tick(HOUR).launches == ()
    days.end(claim, plan)
    assert len(days.tick().launches) == 1
    hub.close()
    go.close()


def test_tables_of_another_collation_are_no_obstacle(mysql_or_mariadb: MariaDBDatabase) -> None:
    go = GoApi(mysql_or_mariadb.url)
    mysql_or_mariadb.execute(f"ALTER DATABASE {mysql_or_mariadb.name} COLLATE utf8mb4_unicode_ci")
    go.create_tables()
    mysql_or_mariadb.execute(f"ALTER DATABASE {mysql_or_mariadb.name} COLLATE utf8mb4_general_ci")
    hub = Hub(mysql_or_mariadb.url, ZoneInfo("UTC"))
    hub.create_missing_tables()
    go.insert("report_datasources", id=1, name="sales", connection_url="sqlite:///x", db_type="mysql")
    go.insert("report_configs", id=1, report_name="Sales", report_query="SELECT 1", datasource_id=1)
    go.insert("report_schedules", id=1, config_id=1, cron_expression="0 * * * *")
    days = Days(hub, go)
    days.schedule(1, overlap="allow")
    days.tick()
    assert len(days.tick(HOUR, in_flight=set).launches) == 1
    assert len(days.tick(HOUR, in_flight=set).launches) == 1
    hub.close()
    go.close()


def test_the_database_tells_the_time(hub: Hub) -> None:
    assert abs(hub.now() - datetime.now(UTC)) < timedelta(seconds=30)


def test_a_hub_in_another_zone_tells_the_same_time(hub_url: str) -> None:
    hub = Hub(hub_url, ZoneInfo("Asia/Jakarta"))
    found = hub.now()
    hub.close()
    assert abs(found - datetime.now(UTC)) < timedelta(seconds=30)


def test_waiting_executions_are_queued_where_the_column_knows_the_word(hub: Hub) -> None:
    assert ExecutionQueue(hub).waiting_status == "queued"


def test_schedulers_whose_machines_disagree_by_minutes_decide_by_the_databases_clock(
    seen: Days, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine's clock is turned under both; what they see is the database's."""
    import time  # noqa: PLC0415

    found = []
    real = time.time
    for skew in (-300, 300):
        monkeypatch.setattr(time, "time", lambda skew=skew: real() + skew)
        found.append(seen.hub.now())
        Scheduler(seen.hub, seen.defaults).tick(MORNING + HOUR)
    assert abs(found[0] - found[1]) < timedelta(seconds=30)
    assert seen.fates() == [("09:00", "launched")]
