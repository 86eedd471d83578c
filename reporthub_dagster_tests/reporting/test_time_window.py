"""Windows follow each other without gap or overlap, and give every variable of the contract."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reporthub_dagster.reporting.errors import ConfigurationError
from reporthub_dagster.reporting.records import TimeWindow
from reporthub_dagster.reporting.schedule import Cron
from reporthub_dagster.reporting.time_window import (
    NothingLeftError,
    decide_window,
    parse_instant,
    template_variables,
)
from reporthub_dagster_tests.reporting.builders import instants, schedule, utc, wall

BERLIN = "Europe/Berlin"
NOW = utc("2025-01-31 09:17:42.123456")
SLOT = utc("2025-01-31 08:00")
CONTRACT_VARIABLES = {
    *("start_datetime", "end_datetime", "start_date", "end_date", "start_time", "end_time"),
    *("interval_hours", "interval_minutes", "calculation_method", "yesterday", "last_week", "last_month"),
    *("execution_time", "execution_date", "execution_hour"),
}


def bounds(window: TimeWindow) -> tuple[datetime, datetime]:
    return window.start, window.end


def test_a_window_starts_where_the_last_one_ended() -> None:
    window = decide_window(now=NOW, slot=SLOT, schedule=schedule(last_run_at=utc("2025-01-28 08:00")))

    assert bounds(window) == (utc("2025-01-28 08:00"), SLOT)
    assert (window.method, window.granularity, window.as_of) == ("last_run_at", "daily", SLOT)


def test_a_first_slot_covers_one_period_of_the_cron() -> None:
    window = decide_window(now=NOW, slot=SLOT, schedule=schedule("0 8 * * 1-5"))

    assert bounds(window) == (utc("2025-01-30 08:00"), SLOT)
    assert window.method == "cron_detection"


def test_a_first_slot_on_monday_covers_the_weekend() -> None:
    monday = utc("2025-02-03 08:00")

    window = decide_window(now=NOW, slot=monday, schedule=schedule("0 8 * * 1-5"))

    assert window.start == utc("2025-01-31 08:00")


def test_without_a_slot_the_window_ends_now_to_the_second() -> None:
    window = decide_window(now=NOW, schedule=schedule(last_run_at=SLOT))

    assert bounds(window) == (SLOT, utc("2025-01-31 09:17:42"))
    assert window.as_of == utc("2025-01-31 09:17:42")


def test_a_first_manual_run_covers_the_gap_of_the_two_latest_slots() -> None:
    window = decide_window(now=NOW, schedule=schedule("0 */6 * * *"))

    assert bounds(window) == (utc("2025-01-31 03:17:42"), utc("2025-01-31 09:17:42"))


def test_a_last_run_in_the_future_is_nobodys_and_the_cron_decides() -> None:
    ahead = schedule(last_run_at=utc("2025-02-10 08:00"))

    window = decide_window(now=NOW, slot=SLOT, schedule=ahead)

    assert (window.method, *bounds(window)) == ("cron_detection", utc("2025-01-30 08:00"), SLOT)


@pytest.mark.parametrize("minutes", [0, 5])
def test_nothing_is_left_for_a_slot_that_another_run_has_passed(minutes: int) -> None:
    passed = schedule(last_run_at=SLOT + timedelta(minutes=minutes))

    with pytest.raises(NothingLeftError, match=f"all rows up to 2025-01-31 08:0{minutes}:00 UTC"):
        decide_window(now=NOW, slot=SLOT, schedule=passed)


def test_without_a_schedule_the_window_is_one_calendar_day() -> None:
    window = decide_window(now=wall("2025-03-30 12:00", BERLIN), schedule=None, default_timezone=BERLIN)

    assert window.start == wall("2025-03-29 12:00", BERLIN)
    assert window.end - window.start == timedelta(hours=23)
    assert (window.method, window.granularity, window.timezone) == ("default_daily", "daily", BERLIN)


@pytest.mark.parametrize(
    ("given_bounds", "expected"),
    [
        pytest.param(
            {"start": utc("2025-01-01"), "end": utc("2025-01-08")},
            (utc("2025-01-01"), utc("2025-01-08")),
            id="both",
        ),
        pytest.param(
            {"start": utc("2025-01-01")}, (utc("2025-01-01"), SLOT), id="start-alone-ends-at-the-slot"
        ),
        pytest.param(
            {"end": utc("2025-01-20 08:00")},
            (utc("2025-01-19 08:00"), utc("2025-01-20 08:00")),
            id="end-alone-on-a-slot-starts-at-the-one-before",
        ),
        pytest.param(
            {"end": utc("2025-01-20 10:30")},
            (utc("2025-01-19 10:30"), utc("2025-01-20 10:30")),
            id="end-alone-between-slots-starts-one-period-before",
        ),
    ],
)
def test_what_a_person_gives_overrides_the_last_run(
    given_bounds: dict[str, Any], expected: tuple[datetime, datetime]
) -> None:
    row = schedule(last_run_at=utc("2025-01-30 08:00"))

    window = decide_window(now=NOW, slot=SLOT, schedule=row, **given_bounds)

    assert (window.method, bounds(window)) == ("explicit", expected)
    assert window.as_of == SLOT


def test_a_persons_start_without_a_slot_ends_now() -> None:
    window = decide_window(now=NOW, schedule=None, start=utc("2025-01-01"))

    assert bounds(window) == (utc("2025-01-01"), utc("2025-01-31 09:17:42"))


@pytest.mark.parametrize("end", [utc("2025-01-01"), utc("2024-12-01")])
def test_a_window_that_ends_before_it_starts_is_refused(end: datetime) -> None:
    with pytest.raises(ConfigurationError, match="before it starts"):
        decide_window(now=NOW, schedule=None, start=utc("2025-01-01"), end=end)


@pytest.mark.parametrize(
    ("cron", "zone", "column"),
    [("0 8 * *", "UTC", "cron_expression"), ("0 8 * * *", "Mars/Olympus", "timezone")],
)
def test_a_bad_schedule_is_named_with_its_row(cron: str, zone: str, column: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        decide_window(now=NOW, schedule=schedule(cron, zone))

    assert (caught.value.table, caught.value.row, caught.value.column) == ("report_schedules", 7, column)


@pytest.mark.parametrize(
    ("now", "start"),
    [
        pytest.param("2025-10-27 07:00", "2025-10-26 07:00", id="a-day-after-the-change"),
        pytest.param("2025-10-26 12:00", "2025-10-25 12:00", id="on-the-day"),
    ],
)
def test_a_daily_period_keeps_its_wall_time_when_the_clock_changes(now: str, start: str) -> None:
    window = decide_window(now=wall(now, BERLIN), schedule=schedule("0 8 * * *", BERLIN))

    assert window.start == wall(start, BERLIN)


@pytest.mark.parametrize(("now", "fold"), [("02:30", 1), ("03:10", 0)])
def test_an_hourly_period_around_a_repeated_hour_is_one_real_hour(now: str, fold: int) -> None:
    asked = wall(f"2025-10-26 {now}", BERLIN, fold)

    window = decide_window(now=asked, schedule=schedule("0 * * * *", BERLIN))

    assert window.end - window.start == timedelta(hours=1)


@given(
    cron=st.sampled_from(["0 8 * * *", "30 2 * * *", "0 * * * *", "0 8 * * 1-5", "0 0 */2 * 1", "0 0 1 * *"]),
    zone=st.sampled_from(["UTC", BERLIN, "Asia/Jakarta", "America/St_Johns"]),
    start=instants("2024-01-01", "2026-01-01"),
    delay=st.timedeltas(timedelta(0), timedelta(days=3)),
)
def test_windows_of_slots_follow_each_other_without_gap_or_overlap(
    cron: str, zone: str, start: datetime, delay: timedelta
) -> None:
    parsed, slot, last_run_at, windows = Cron.parse(cron, zone), start, None, []
    for _ in range(4):
        slot = parsed.next_after(slot)
        row = schedule(cron, zone, last_run_at)
        windows.append(decide_window(now=slot + delay, slot=slot, schedule=row))
        last_run_at = windows[-1].end

    assert all(earlier.end == later.start for earlier, later in pairwise(windows))
    assert windows[0].start == parsed.previous_at_or_before(windows[0].end - timedelta(seconds=1))


def test_every_variable_of_the_contract_is_there_in_the_windows_zone() -> None:
    window = TimeWindow(
        start=utc("2025-01-30 17:30"),
        end=utc("2025-01-31 18:00"),
        timezone="Asia/Jakarta",
        method="last_run_at",
        granularity="daily",
        as_of=utc("2025-02-28 20:00:05"),
    )

    variables = template_variables(window)

    assert set(variables) == CONTRACT_VARIABLES
    assert variables == {
        "start_datetime": "2025-01-31 00:30:00",
        "end_datetime": "2025-02-01 01:00:00",
        "start_date": "2025-01-31",
        "end_date": "2025-02-01",
        "start_time": "00:30:00",
        "end_time": "01:00:00",
        "interval_hours": 24.5,
        "interval_minutes": 1470,
        "calculation_method": "last_run_at",
        "yesterday": "2025-02-28",
        "last_week": "2025-02-22",
        "last_month": "2025-01-30",
        "execution_time": "2025-03-01 03:00:05",
        "execution_date": "2025-03-01",
        "execution_hour": 3,
    }
    assert isinstance(variables["interval_minutes"], int)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("2025-01-01", wall("2025-01-01 00:00", BERLIN), id="date-is-its-midnight"),
        pytest.param(" 2025-07-01 08:00 ", wall("2025-07-01 08:00", BERLIN), id="wall-time"),
        pytest.param("2025-01-01T08:00:00", wall("2025-01-01 08:00", BERLIN), id="iso-without-offset"),
        pytest.param("2025-01-01T08:00:00Z", utc("2025-01-01 08:00"), id="utc"),
        pytest.param("2025-01-01T08:00:00+07:00", utc("2025-01-01 01:00"), id="offset"),
        pytest.param("2025-03-30 02:30", utc("2025-03-30 01:30"), id="skipped-as-if-not-yet-changed"),
        pytest.param("2025-10-26 02:30", utc("2025-10-26 00:30"), id="repeated-is-the-first"),
    ],
)
def test_people_write_instants_in_the_zone_of_the_report(text: str, expected: datetime) -> None:
    assert parse_instant(text, BERLIN) == expected
    assert parse_instant(text, BERLIN).tzinfo is UTC


def test_a_day_without_midnight_begins_when_its_clock_does() -> None:
    assert parse_instant("2025-04-25", "Africa/Cairo") == wall("2025-04-25 01:00", "Africa/Cairo")


@pytest.mark.parametrize("text", ["", "yesterday", "31.01.2025", "2025-02-30", "0001-01-01", "9999-12-31"])
def test_what_is_no_date_says_how_to_write_one(text: str) -> None:
    with pytest.raises(ConfigurationError, match="write 2025-01-31"):
        parse_instant(text, BERLIN)
