"""How a document says what its window is."""

# ruff: noqa: RUF001 - people write a dash between days

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from reporthub_dagster.renderers.captions import cut_caption, rows_caption, window_caption
from reporthub_dagster_tests.renderers.spools import WINDOW


@pytest.mark.parametrize(
    ("start", "end", "zone", "caption"),
    [
        ("2025-01-31", "2025-02-01", "Asia/Jakarta", "31 January 2025 · Asia/Jakarta"),
        ("2025-01-01", "2025-02-01", "UTC", "1 – 31 January 2025 · UTC"),
        ("2025-01-27", "2025-02-03", "UTC", "27 January – 2 February 2025 · UTC"),
        ("2024-12-30", "2025-01-06", "UTC", "30 December 2024 – 5 January 2025 · UTC"),
        ("2025-01-31T08:00", "2025-01-31T09:00", "UTC", "31 January 2025, 08:00 until before 09:00 · UTC"),
        (
            "2025-01-31T23:00:30",
            "2025-02-01T00:00",
            "UTC",
            "31 January 2025, 23:00:30 until before 1 February 2025, 00:00 · UTC",
        ),
        ("2025-01-31", "2025-01-31", "UTC", "31 January 2025, 00:00 until before 00:00 · UTC"),
    ],
)
def test_a_window_is_said_as_people_say_it(start: str, end: str, zone: str, caption: str) -> None:
    first, last = (
        datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC) for text in (start, end)
    )

    assert window_caption(replace(WINDOW, start=first, end=last, timezone=zone)) == caption


def test_a_day_whose_midnight_does_not_exist_is_a_whole_day() -> None:
    zone = "America/Sao_Paulo"  # on 4 November 2018 the clocks went from 00:00 to 01:00
    start = datetime(2018, 11, 4, 3, tzinfo=UTC)
    end = datetime(2018, 11, 5, 2, tzinfo=UTC)

    caption = window_caption(replace(WINDOW, start=start, end=end, timezone=zone))

    assert caption == "4 November 2018 · America/Sao_Paulo"


def test_rows_are_counted_in_words() -> None:
    assert [rows_caption(rows) for rows in (0, 1, 12_345)] == ["0 rows", "1 row", "12,345 rows"]
    assert cut_caption(10_000) == "Incomplete: only the first 10,000 rows are shown, the source had more."
