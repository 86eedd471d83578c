"""The words that a document says about its report: its window as people put it, its rows, a cut."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from reporthub_dagster.reporting.records import TimeWindow

# Not strftime's: the process may run in any locale, the file says the same everywhere.
MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_TO = " \N{EN DASH} "


def window_caption(window: TimeWindow) -> str:
    """The half-open window in its own zone: whole days by their names, anything else with its end left out.

    `31 January 2025 · Asia/Jakarta`, `1 to 31 January 2025 · UTC` (with a dash),
    `31 January 2025, 08:00 until before 09:00 · Asia/Jakarta`.
    """
    zone = ZoneInfo(window.timezone)
    start, end = window.start.astimezone(zone), window.end.astimezone(zone)
    if start < end and _is_midnight(start) and _is_midnight(end):
        period = _days(start.date(), end.date() - timedelta(days=1))
    else:
        period = _hours(start, end)
    return f"{period} · {window.timezone}"


def rows_caption(rows: int) -> str:
    """How many rows there are: `1 row`, `12,345 rows`."""
    return f"{rows:,} {'row' if rows == 1 else 'rows'}"


def shown_of(caption: str, rows: int, shown: int) -> str:
    """A caption that also says that not all rows are here."""
    return f"{caption}, here the first {shown:,}" if shown < rows else caption


def cut_caption(rows: int) -> str:
    """That the source had more rows than the report may have."""
    shown = "row is" if rows == 1 else f"{rows_caption(rows)} are"
    return f"Incomplete: only the first {shown} shown, the source had more."


def _is_midnight(local: datetime) -> bool:
    """True for the first instant of a local day, also where the clocks skip midnight."""
    midnight = datetime.combine(local.date(), time.min, local.tzinfo)
    return midnight.astimezone(UTC) == local.astimezone(UTC)


def _days(first: date, last: date) -> str:
    if first == last:
        return _day(first)
    if (first.year, first.month) == (last.year, last.month):
        return f"{first.day}{_TO}{_day(last)}"
    if first.year == last.year:
        return f"{first.day} {MONTHS[first.month - 1]}{_TO}{_day(last)}"
    return f"{_day(first)}{_TO}{_day(last)}"


def _hours(start: datetime, end: datetime) -> str:
    until = _clock(end) if start.date() == end.date() else f"{_day(end.date())}, {_clock(end)}"
    return f"{_day(start.date())}, {_clock(start)} until before {until}"


def _day(day: date) -> str:
    return f"{day.day} {MONTHS[day.month - 1]} {day.year}"


def _clock(moment: datetime) -> str:
    return moment.strftime("%H:%M:%S" if moment.second else "%H:%M")
