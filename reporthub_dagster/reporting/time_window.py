"""The window [start, end) of a report, and the template variables that it gives."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo

from reporthub_dagster.reporting.errors import ConfigurationError, PermanentError
from reporthub_dagster.reporting.records import (
    CalculationMethod,
    Schedule,
    TemplateValue,
    TimeWindow,
)
from reporthub_dagster.reporting.schedule import Cron, zone_of

_DAY = timedelta(days=1)
_SECOND = timedelta(seconds=1)
_DATETIME = "%Y-%m-%d %H:%M:%S"
_DATE = "%Y-%m-%d"
_TIME = "%H:%M:%S"
_YEARS = range(1900, 3000)
"""Years that people may ask for: far enough from the ends of datetime for every sum made with them."""


class NothingLeftError(PermanentError):
    """A later window of the schedule has been done, with the rows of this one in it."""


def decide_window(
    *,
    now: datetime,
    schedule: Schedule | None,
    slot: datetime | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    default_timezone: str = "UTC",
) -> TimeWindow:
    """Decide the window of an execution, once.

    Without `end` it ends at the slot, or at `now` floored to the second. It starts at `start`; or one period
    before an explicit `end`; or where the last one ended (`last_run_at`); or one period of the cron before
    its end; or, without a schedule, one calendar day before. A `last_run_at` in the future is nobody's work:
    then the cron alone decides.

    Args:
        now: The moment of asking, aware.
        schedule: The schedule that the execution belongs to.
        slot: The due slot that the execution is for, if it is for one.
        start: A person's own start.
        end: A person's own end.
        default_timezone: IANA zone of a report without a schedule.

    Raises:
        ConfigurationError: Bad cron or time zone; or a start that is not before the end.
        NothingLeftError: `last_run_at` says that what this window would hold has gone out.
    """
    cron = _cron_of(schedule)
    zone_name = schedule.timezone if schedule else default_timezone
    as_of = _whole_second(slot or now)
    last = _whole_second(end) if end else as_of
    method: CalculationMethod = "cron_detection" if cron else "default_daily"
    if start or end:
        method = "explicit"
    elif schedule and schedule.last_run_at and schedule.last_run_at <= _whole_second(now):
        if schedule.last_run_at >= last:
            raise _nothing_left(schedule.last_run_at, last)
        start, method = schedule.last_run_at, "last_run_at"
    first = start.astimezone(UTC) if start else _one_period_before(last, cron, zone_of(zone_name))
    if first >= last:
        raise ConfigurationError(
            "the window would end before it starts",
            column="start",
            value=f"{first:{_DATETIME}} to {last:{_DATETIME}} UTC",
            valid="give a start that is before the end",
        )
    granularity = cron.granularity if cron else "daily"
    return TimeWindow(first, last, zone_name, method, granularity, as_of)


def template_variables(window: TimeWindow) -> dict[str, TemplateValue]:
    """Every time variable of a query, in the window's zone.

    Texts are `YYYY-MM-DD HH:MM:SS`, `YYYY-MM-DD` and `HH:MM:SS`. The intervals and `execution_hour` are
    numbers, int when whole; an interval is real time: a day on which the clock changes has 23 or 25 hours.
    """
    zone = zone_of(window.timezone)
    start, end, as_of = (at.astimezone(zone) for at in (window.start, window.end, window.as_of))
    length = window.end - window.start
    return {
        "start_datetime": start.strftime(_DATETIME),
        "end_datetime": end.strftime(_DATETIME),
        "start_date": start.strftime(_DATE),
        "end_date": end.strftime(_DATE),
        "start_time": start.strftime(_TIME),
        "end_time": end.strftime(_TIME),
        "interval_hours": _whole(length / timedelta(hours=1)),
        "interval_minutes": _whole(length / timedelta(minutes=1)),
        "calculation_method": window.method,
        "yesterday": (as_of.date() - _DAY).strftime(_DATE),
        "last_week": (as_of.date() - 7 * _DAY).strftime(_DATE),
        "last_month": (as_of.date() - 30 * _DAY).strftime(_DATE),
        "execution_time": as_of.strftime(_DATETIME),
        "execution_date": as_of.strftime(_DATE),
        "execution_hour": as_of.hour,
    }


def parse_instant(text: str, timezone: str) -> datetime:
    """The instant that a person means by `2025-01-01`, `2025-01-01 08:00` or ISO 8601, in UTC.

    A text without an offset is wall time in `timezone`. A wall time that the clock skips is read as if it had
    not been changed yet (02:30 is then 03:30); of one that comes twice the first is meant.

    Raises:
        ConfigurationError: Not a date or time, or far from any report's year.
    """
    try:
        parsed = datetime.fromisoformat(text.strip())
    except ValueError:
        parsed = None
    if parsed is None or parsed.year not in _YEARS:
        raise ConfigurationError(
            "not a date or time",
            value=text,
            valid="write 2025-01-31, 2025-01-31 08:00 or ISO 8601 with an offset",
        )
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=zone_of(timezone))).astimezone(UTC)


def _nothing_left(last_run_at: datetime, end: datetime) -> NothingLeftError:
    return NothingLeftError(
        f"nothing is left for a window that ends at {end:{_DATETIME}} UTC: another run has made the file of "
        f"all rows up to {last_run_at:{_DATETIME}} UTC; give a start and an end to have rows again"
    )


def _cron_of(schedule: Schedule | None) -> Cron | None:
    if schedule is None:
        return None
    try:
        return Cron.parse(schedule.cron_expression, schedule.timezone)
    except ConfigurationError as error:
        raise error.located(table="report_schedules", row=schedule.id) from None


def _one_period_before(end: datetime, cron: Cron | None, zone: tzinfo) -> datetime:
    """`end` less the gap between the two latest slots, which is the previous slot when `end` is one.

    Gaps of a day and more are wall time, so that a window does not shift by an hour when the clock changes.
    """
    if cron is None:
        return _wall_minus(end, _DAY, zone)
    latest = cron.previous_at_or_before(end)
    before = cron.previous_at_or_before(latest - _SECOND)
    gap = latest.astimezone(zone).replace(tzinfo=None) - before.astimezone(zone).replace(tzinfo=None)
    return _wall_minus(end, gap, zone) if gap >= _DAY else end - (latest - before)


def _wall_minus(instant: datetime, wall: timedelta, zone: tzinfo) -> datetime:
    # Arithmetic of aware datetimes in one zone is wall-clock arithmetic.
    return (instant.astimezone(zone) - wall).astimezone(UTC)


def _whole_second(instant: datetime) -> datetime:
    return instant.astimezone(UTC).replace(microsecond=0)


def _whole(number: float) -> int | float:
    return int(number) if number.is_integer() else number
