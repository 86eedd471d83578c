from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reporthub_dagster.reporting.backfill import (
    MOST_WINDOWS,
    backfill_execution_id,
    config_id_of,
    config_key,
    day_window,
    slot_windows,
)
from reporthub_dagster.reporting.errors import ConfigurationError
from reporthub_dagster.reporting.records import Schedule

JANUARY = datetime(2025, 1, 1, tzinfo=UTC)


def schedule(cron: str, timezone: str = "UTC") -> Schedule:
    return Schedule(3, 12, cron, timezone, True, datetime(2026, 1, 1, tzinfo=UTC), None)


@given(st.integers(1, 2**31 - 1), st.text())
def test_a_key_leads_back_to_its_report_whatever_its_name(config_id: int, name: str) -> None:
    key = config_key(config_id, name)
    assert config_id_of(key) == config_id
    assert "|" not in key
    assert key.isprintable()
    assert len(key) < 60


@pytest.mark.parametrize("key", ["", "sales", "0-sales", "-1", "12sales", "1" * 11])
def test_what_is_no_key_is_refused(key: str) -> None:
    with pytest.raises(ConfigurationError, match="not the key of a report"):
        config_id_of(key)


@pytest.mark.parametrize(
    ("day", "hours"),
    [("2025-03-30", 23), ("2025-06-01", 24), ("2025-10-26", 25)],
    ids=["spring", "", "autumn"],
)
def test_a_day_is_as_long_as_it_was(day: str, hours: int) -> None:
    window = day_window(day, "Europe/Berlin")
    assert window.end - window.start == timedelta(hours=hours)
    assert (window.method, window.granularity, window.as_of) == ("explicit", "daily", window.end)


@pytest.mark.parametrize("day", ["soon", "2025-02-30", "9999-12-31", "2025-01-01 08:00"])
def test_what_is_no_date_is_refused(day: str) -> None:
    with pytest.raises(ConfigurationError, match="not a date"):
        day_window(day, "UTC")


@pytest.mark.parametrize("cron", ["0 8 * * *", "0 8 * * MON-FRI", "*/20 * * * *", "0 0 1 * *"])
def test_windows_of_slots_follow_each_other_without_gap_or_overlap(cron: str) -> None:
    windows = list(slot_windows(schedule(cron, "Europe/Berlin"), JANUARY, JANUARY + timedelta(days=100)))
    assert all(earlier.end == later.start for earlier, later in pairwise(windows))
    assert {window.method for window in windows} == {"explicit"}
    assert all(window.as_of == window.end for window in windows)


def test_the_first_moment_counts_and_the_last_does_not() -> None:
    windows = slot_windows(schedule("0 0 * * *"), JANUARY, JANUARY + timedelta(days=2))
    assert [window.end.day for window in windows] == [1, 2]


def test_the_windows_of_one_backfill_are_bounded() -> None:
    found = slot_windows(schedule("* * * * *"), JANUARY, JANUARY + timedelta(minutes=MOST_WINDOWS))
    assert sum(1 for _ in found) == MOST_WINDOWS
    with pytest.raises(ConfigurationError, match="more than 10,000 windows"):
        list(slot_windows(schedule("* * * * *"), JANUARY, JANUARY + timedelta(minutes=MOST_WINDOWS + 1)))


def test_an_execution_is_of_one_backfill_report_and_window_for_ever() -> None:
    window = day_window("2025-01-31", "UTC")
    found = backfill_execution_id("abcdefgh", 12, window)
    assert found == "4afabafc-9d77-5d76-a342-8ef164277415"
    others = {
        backfill_execution_id("abcdefgi", 12, window),
        backfill_execution_id("abcdefgh", 13, window),
        backfill_execution_id("abcdefgh", 12, day_window("2025-02-01", "UTC")),
    }
    assert found not in others
    assert len(others) == 3
