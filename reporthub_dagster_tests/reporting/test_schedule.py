"""Cron expressions and zones: robfig's meaning, once per slot, also when the clock changes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reporthub_dagster.reporting.errors import ConfigurationError
from reporthub_dagster.reporting.schedule import Cron, zone_of
from reporthub_dagster_tests.reporting.builders import instants, utc, wall

BERLIN = "Europe/Berlin"


def slots(expression: str, start: str, count: int, zone: str = "UTC") -> list[str]:
    """The next slots as wall time."""
    cron, instant, found = Cron.parse(expression, zone), wall(start, zone), []
    for _ in range(count):
        instant = cron.next_after(instant)
        found.append(f"{instant.astimezone(zone_of(zone)):%m-%d %H:%M}")
    return found


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        pytest.param("0 8 * * *", ["01-01 08:00", "01-02 08:00"], id="daily"),
        pytest.param("? 8 ? * ?", ["01-01 08:00", "01-01 08:01"], id="question-mark-is-star"),
        pytest.param(
            "10/20 0 1 1 *", ["01-01 00:10", "01-01 00:30", "01-01 00:50"], id="n-step-runs-to-the-end"
        ),
        pytest.param("0 20/2 * * *", ["01-01 20:00", "01-01 22:00", "01-02 20:00"], id="n-step-of-hours"),
        pytest.param("0 0 28/2 * *", ["01-28 00:00", "01-30 00:00", "02-28 00:00"], id="n-step-of-days"),
        pytest.param("5-10/5 0 * * *", ["01-01 00:05", "01-01 00:10", "01-02 00:05"], id="range-with-step"),
        pytest.param("7-7/5 0 * * *", ["01-01 00:07", "01-02 00:07"], id="range-of-one-with-step"),
        pytest.param("0 0 * * 7", ["01-05 00:00", "01-12 00:00"], id="seven-is-sunday"),
        pytest.param("0 0 * * 0", ["01-05 00:00", "01-12 00:00"], id="zero-is-sunday"),
        pytest.param("0 0 * * 5-7", ["01-03 00:00", "01-04 00:00", "01-05 00:00"], id="range-to-seven"),
        pytest.param(
            "0 0 * * 2/2", ["01-02 00:00", "01-04 00:00", "01-07 00:00"], id="weekday-step-ends-at-six"
        ),
        pytest.param(
            "0 0 * * 1/3", ["01-02 00:00", "01-06 00:00", "01-09 00:00"], id="weekday-step-has-no-sunday"
        ),
        pytest.param("0 0 * * mon,WED", ["01-01 00:00", "01-06 00:00"], id="day-names"),
        pytest.param("0 0 1 feb-Mar *", ["02-01 00:00", "03-01 00:00"], id="month-names"),
    ],
)
def test_fields_mean_what_the_go_api_previews(expression: str, expected: list[str]) -> None:
    assert slots(expression, "2024-12-31 23:59:30", len(expected)) == expected


@pytest.mark.parametrize(
    ("expression", "days"),
    [
        pytest.param("0 0 */2 * 1", [1, 3, 5, 6, 7, 9, 11, 13, 15], id="starred-step-is-restricted"),
        pytest.param("0 0 10 * 1", [6, 10, 13, 20, 27], id="both-restricted-is-either"),
        pytest.param("0 0 1-31 * 1", list(range(1, 12)), id="every-day-as-a-list-is-restricted"),
        pytest.param("0 0 10 * */2", [2, 4, 5, 7, 9, 10, 11], id="starred-step-of-weekdays-is-restricted"),
        pytest.param("0 0 ? * 1", [6, 13, 20, 27], id="question-mark-is-unrestricted"),
        pytest.param("0 0 */1 * 1", [6, 13, 20, 27], id="step-of-one-is-a-plain-star-as-in-robfig"),
        pytest.param("0 0 10 * *", [10], id="only-the-day-of-month"),
    ],
)
def test_two_restricted_day_fields_match_either_day(expression: str, days: list[int]) -> None:
    found = slots(expression, "2024-12-31 23:59", len(days))

    assert found == [f"01-{day:02} 00:00" for day in days]


@pytest.mark.parametrize(
    ("expression", "mention"),
    [
        pytest.param("0 8 * *", "five fields", id="four-fields"),
        pytest.param("0 0 8 * * *", "five fields", id="six-fields"),
        pytest.param("@daily", "five fields", id="descriptor"),
        pytest.param("60 8 * * *", "minute takes 0-59", id="minute-60"),
        pytest.param("0 24 * * *", "hour takes 0-23", id="hour-24"),
        pytest.param("0 0 0 * *", "day-of-month takes 1-31", id="day-0"),
        pytest.param("0 0 1 13 *", "month takes 1-12 or JAN-DEC", id="month-13"),
        pytest.param("0 0 * * 8", "day-of-week takes 0-7 or SUN-SAT", id="weekday-8"),
        pytest.param("0 0 * * FRI-MON", "day-of-week", id="range-backwards"),
        pytest.param("*/0 * * * *", "minute", id="step-zero"),
        pytest.param("0 0 L * *", "day-of-month", id="last-day-is-not-robfig"),
        pytest.param("0 0 * * 5#2", "day-of-week", id="nth-weekday-is-not-robfig"),
        pytest.param("0 *-5 * * *", "hour", id="range-from-star"),
        pytest.param("0 1,,2 * * *", "hour", id="empty-term"),
        pytest.param("0 ٣ * * *", "hour", id="digits-of-another-script"),
        pytest.param("0 0 30 2 *", "never fires", id="30-february"),
        pytest.param("0 0 31 4,6,9,11 *", "never fires", id="31-of-short-months"),
    ],
)
def test_a_bad_expression_says_what_is_valid(expression: str, mention: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Cron.parse(expression, "UTC")

    assert mention in str(caught.value)
    assert (caught.value.column, caught.value.value) == ("cron_expression", expression)


def test_a_day_that_no_month_has_still_fires_on_its_weekday() -> None:
    assert slots("0 0 30 2 1", "2025-02-01", 2) == ["02-03 00:00", "02-10 00:00"]


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", "../etc/passwd", "UTC+7 "])
def test_an_unknown_zone_is_refused(zone: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Cron.parse("0 8 * * *", zone)

    assert (caught.value.column, caught.value.value) == ("timezone", zone)


def test_a_misspelt_zone_gets_a_suggestion() -> None:
    with pytest.raises(ConfigurationError, match="did you mean Asia/Jakarta"):
        zone_of("Asia/Jakatra")


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        pytest.param(
            "2025-03-29 00:00", ["03-29 02:30", "03-30 03:00", "03-31 02:30"], id="spring-at-gap-end"
        ),
        pytest.param("2025-10-25 00:00", ["10-25 02:30", "10-26 02:30", "10-27 02:30"], id="autumn-once"),
    ],
)
def test_a_nightly_slot_fires_once_when_the_clock_changes(start: str, expected: list[str]) -> None:
    assert slots("30 2 * * *", start, 3, BERLIN) == expected


def test_between_the_passes_of_a_repeated_hour_the_next_slot_is_tomorrows() -> None:
    cron = Cron.parse("45 2 * * *", BERLIN)
    second_pass = wall("2025-10-26 02:30", BERLIN, fold=1)

    assert cron.next_after(second_pass) == wall("2025-10-27 02:45", BERLIN)
    assert cron.previous_at_or_before(second_pass) == wall("2025-10-26 02:45", BERLIN, fold=0)


@pytest.mark.parametrize("day", ["2025-03-30", "2025-10-26"])
@pytest.mark.parametrize("expression", ["0 * * * *", "*/15 * * * *", "15 0-23 * * *"])
def test_a_cron_of_every_hour_follows_real_time(expression: str, day: str) -> None:
    cron, instant = Cron.parse(expression, BERLIN), wall(f"{day} 00:00", BERLIN)
    found = [instant := cron.next_after(instant) for _ in range(20)]

    assert len({later - earlier for earlier, later in pairwise(found)}) == 1


def test_slots_are_utc_and_strictly_after() -> None:
    cron = Cron.parse("0 8 * * *", "Asia/Jakarta")

    assert cron.next_after(utc("2025-01-01 01:00")) == utc("2025-01-02 01:00")
    assert cron.next_after(utc("2025-01-01 00:59:59.999999")) == utc("2025-01-01 01:00")
    assert cron.next_after(utc("2025-01-01 00:00")).tzinfo is UTC


def test_previous_includes_the_instant_itself() -> None:
    cron = Cron.parse("0 8 * * *", "UTC")

    assert cron.previous_at_or_before(utc("2025-01-02 08:00")) == utc("2025-01-02 08:00")
    assert cron.previous_at_or_before(utc("2025-01-02 07:59:59")) == utc("2025-01-01 08:00")


def test_previous_reaches_back_over_years() -> None:
    cron = Cron.parse("* * 29 2 *", "UTC")

    assert cron.previous_at_or_before(utc("2027-12-31 12:00")) == utc("2024-02-29 23:59")


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        pytest.param("* * * * *", "hourly", id="every-minute"),
        pytest.param("0 * * * *", "hourly", id="every-hour"),
        pytest.param("0 8,20 * * *", "hourly", id="twice-a-day-or-yesterday-would-come-twice"),
        pytest.param("0 8,12 * * 1", "hourly", id="twice-on-mondays"),
        pytest.param("* * 1 1 *", "hourly", id="every-minute-of-one-day"),
        pytest.param("30 2 * * *", "daily", id="every-day"),
        pytest.param("0 8 * * 1-5", "daily", id="workdays"),
        pytest.param("0 8 * * 1-6", "daily", id="six-days"),
        pytest.param("0 8 * * 1,4", "weekly", id="monday-and-thursday-or-days-would-be-lost"),
        pytest.param("0 8 */2 * *", "weekly", id="every-other-day"),
        pytest.param("0 8 * * 1", "weekly", id="mondays"),
        pytest.param("0 8 1 * 1", "weekly", id="mondays-and-the-first"),
        pytest.param("0 8 1,15 * *", "weekly", id="twice-a-month"),
        pytest.param("0 8 1 * *", "monthly", id="first-of-the-month"),
        pytest.param("0 8 1 */3 *", "monthly", id="quarterly"),
        pytest.param("0 8 29 2 *", "monthly", id="leap-days"),
    ],
)
@pytest.mark.parametrize("zone", ["UTC", BERLIN])
def test_granularity_is_how_often_people_get_the_report(expression: str, expected: str, zone: str) -> None:
    assert Cron.parse(expression, zone).granularity == expected


def terms(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    ranges = st.tuples(number, number).map(lambda pair: f"{min(pair)}-{max(pair)}")
    base = st.one_of(number.map(str), ranges, st.just("*"), st.just("?"))
    stepped = st.tuples(base, st.integers(1, 7)).map(lambda pair: f"{pair[0]}/{pair[1]}")
    return st.lists(st.one_of(base, stepped), min_size=1, max_size=2).map(",".join)


def robfig_bits(field: str, low: int, high: int) -> tuple[set[int], bool]:
    """getRange of robfig/cron v3, word for word: the numbers of a field, and whether it has the star bit."""
    bits: set[int] = set()
    star = False
    for term in field.split(","):
        base, _, step_text = term.partition("/")
        step = int(step_text or 1)
        first, _, last = base.partition("-")
        if first in "*?":
            start, end, starred = low, high, step == 1
        else:
            start, starred = int(first), False
            end = int(last) if last else (high if step_text else start)
        bits |= set(range(start, end + 1, step))
        star = star or starred
    return bits, star


@given(
    day=terms(1, 28),
    month=terms(1, 12),
    weekday=terms(0, 6),
    start=instants("2000-01-01", "2060-01-01"),
)
def test_the_next_day_is_the_one_that_robfig_finds(
    day: str, month: str, weekday: str, start: datetime
) -> None:
    days, any_day = robfig_bits(day, 1, 31)
    months, _ = robfig_bits(month, 1, 12)
    weekdays, any_weekday = robfig_bits(weekday, 0, 6)

    found = Cron.parse(f"0 0 {day} {month} {weekday}", "UTC").next_after(start)

    expected = start.replace(hour=0, minute=0, second=0, microsecond=0)
    while True:
        expected += timedelta(days=1)
        in_month, in_week = expected.day in days, expected.isoweekday() % 7 in weekdays
        matches = in_month and in_week if any_day or any_weekday else in_month or in_week
        if expected.month in months and matches:
            break
    assert found == expected


@given(
    expression=st.sampled_from(["30 2 * * *", "*/15 1-3 * * *", "0 * * * *", "0 0 * * 1", "59 23 31 * *"]),
    zone=st.sampled_from(["UTC", BERLIN, "America/New_York", "Australia/Lord_Howe", "Africa/Cairo"]),
    instant=instants("2024-01-01", "2026-12-31"),
)
def test_previous_and_next_enclose_every_instant_without_a_slot_between(
    expression: str, zone: str, instant: datetime
) -> None:
    cron = Cron.parse(expression, zone)

    previous, following = cron.previous_at_or_before(instant), cron.next_after(instant)

    assert previous <= instant < following
    assert cron.next_after(previous) == following
