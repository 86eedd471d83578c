"""Windows of the past: one per day or per slot, and the ids of the executions that fill them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta
from uuid import UUID, uuid5

from reporthub_dagster.reporting.errors import ConfigurationError
from reporthub_dagster.reporting.records import Schedule, TimeWindow
from reporthub_dagster.reporting.schedule import Cron
from reporthub_dagster.reporting.time_window import decide_window, parse_instant

MOST_WINDOWS = 10_000
"""Windows of one backfill; a year of a report that comes every hour has 8,760."""
EVERY_DAY = "0 0 * * *"
"""Midnight, which ends a day: what cuts the windows of a report without a schedule."""
_EXECUTIONS = UUID("b2e0f0c4-0a0b-5d6e-8f53-6f1f5e0d7c92")
"""Namespace of the ids of backfilled executions; it may never change."""
_LONGEST_LABEL = 40


def backfill_execution_id(backfill_id: str, config_id: int, window: TimeWindow) -> str:
    """The id of a window's execution: the same whoever asks, so that asking twice is asking once."""
    span = f"{window.start.isoformat()}/{window.end.isoformat()}"
    return str(uuid5(_EXECUTIONS, f"{backfill_id}:{config_id}:{span}"))


def config_key(config_id: int, name: str) -> str:
    """A report as a partition key that people can read, such as `12-daily-sales`."""
    label = re.sub(r"[\W_]+", "-", name.casefold()).strip("-")[:_LONGEST_LABEL].strip("-")
    return f"{config_id}-{label}" if label else str(config_id)


def config_id_of(key: str) -> int:
    """The report that a partition key means; what follows the number is only for people.

    Raises:
        ConfigurationError: The key does not begin with a number.
    """
    number = re.match(r"[1-9]\d{0,9}(?=-|$)", key)
    if number is None:
        raise ConfigurationError(
            "not the key of a report", column="partition", value=key, valid="for example 12-daily-sales"
        )
    return int(number[0])


def day_window(day: str, timezone: str) -> TimeWindow:
    """A calendar day in a zone, as its report would have covered it on the following midnight.

    Raises:
        ConfigurationError: Not a date.
    """
    try:
        following = date.fromisoformat(day) + timedelta(days=1)
    except (ValueError, OverflowError):
        raise ConfigurationError(
            "not a date", column="partition", value=day, valid="write 2025-01-31"
        ) from None
    start, end = parse_instant(day, timezone), parse_instant(following.isoformat(), timezone)
    return TimeWindow(start, end, timezone, "explicit", "daily", end)


def day_windows(timezone: str, first: datetime, until: datetime) -> Iterator[TimeWindow]:
    """The days of a zone from the one of `first` on that have ended by `until`.

    Raises:
        ConfigurationError: As `slot_windows`.
    """
    daily = Schedule(0, 0, EVERY_DAY, timezone, True, None, None)
    # The slot of a day is the midnight after it.
    return slot_windows(daily, first + timedelta(seconds=1), until + timedelta(seconds=1))


def slot_windows(schedule: Schedule, first: datetime, until: datetime) -> Iterator[TimeWindow]:
    """The windows of the slots in [first, until), as the cron alone cuts them: without gap or overlap.

    They are marked as given by a person, so that `last_run_at` stays where it is.

    Raises:
        ConfigurationError: The cron or zone is broken, or there are more than MOST_WINDOWS.
    """
    cron = Cron.parse(schedule.cron_expression, schedule.timezone)
    fresh = replace(schedule, last_run_at=None)
    slot = cron.next_after(first - timedelta(seconds=1))
    for number in range(MOST_WINDOWS + 1):
        if slot >= until:
            return
        if number == MOST_WINDOWS:
            break
        yield replace(decide_window(now=slot, schedule=fresh, slot=slot), method="explicit")
        slot = cron.next_after(slot)
    raise ConfigurationError(
        f"more than {MOST_WINDOWS:,} windows",
        column="end",
        value=until.isoformat(),
        valid="give a shorter time, and the rest as another backfill",
    )
