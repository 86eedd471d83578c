"""Cron expressions in a time zone: when the slots of a schedule are, and how often they come."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from typing import NamedTuple
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from reporthub_dagster.reporting.errors import ConfigurationError
from reporthub_dagster.reporting.records import Granularity

_MINUTE = timedelta(minutes=1)
_DAY = timedelta(days=1)
_WEEK = timedelta(days=7)
_REFERENCE = datetime(2024, 1, 1, tzinfo=UTC)
"""Where slots are looked at when no instant is meant; a fixed one, so that answers never change."""
_LONGEST_GAP = timedelta(days=366 * 9)
"""29 February of 1896 to that of 1904; no cron that fires at all waits longer."""
_TERM = re.compile(r"(?P<low>\*|\?|[0-9A-Za-z]+)(?:-(?P<high>[0-9A-Za-z]+))?(?:/(?P<step>\d+))?")
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_FIELDS_TEXT = "minute hour day-of-month month day-of-week, e.g. 0 8 * * MON-FRI"


class _Field(NamedTuple):
    name: str
    low: int
    high: int
    accepted: int
    """Highest number that people may write: 7 for the day of week, which is 0 again."""
    names: tuple[str, ...] = ()

    @property
    def valid(self) -> str:
        names = f" or {self.names[0]}-{self.names[-1]}" if self.names else ""
        return f"{self.name} takes {self.low}-{self.accepted}{names}, with * ? , - and /"


_FIELDS = (
    _Field("minute", 0, 59, 59),
    _Field("hour", 0, 23, 23),
    _Field("day-of-month", 1, 31, 31),
    _Field("month", 1, 12, 12, _MONTHS),
    _Field("day-of-week", 0, 6, 7, _WEEKDAYS),
)


@dataclass(frozen=True, slots=True)
class Cron:
    """A five-field cron expression (robfig/cron v3) in an IANA time zone.

    In changes of the clock a slot that the zone skips fires at the end of the gap, and one that comes twice
    fires the first time; a cron of every hour follows real time instead and so neither skips nor waits.

    Attributes:
        expression: As the row has it.
        timezone: IANA name.
        pattern: The same for cronsim, every restricted field as a list of numbers.
    """

    expression: str
    timezone: str
    pattern: str = field(repr=False)
    zone: ZoneInfo = field(repr=False)

    @classmethod
    def parse(cls, expression: str, timezone: str) -> Cron:
        """Check an expression and a zone.

        Raises:
            ConfigurationError: Either is not valid, or the cron would never fire (30 February).
        """
        cron = cls(expression, timezone, _cronsim_pattern(expression), zone_of(timezone))
        cron.next_after(_REFERENCE)
        return cron

    def next_after(self, instant: datetime) -> datetime:
        """The first slot after `instant` (aware), in UTC."""
        try:
            # In the second pass of a repeated hour cronsim may answer with a slot of the first.
            for slot in CronSim(self.pattern, instant.astimezone(self.zone)):
                if (found := slot.astimezone(UTC)) > instant:
                    return found
        except CronSimError:
            pass
        raise ConfigurationError(
            "the cron expression never fires",
            column="cron_expression",
            value=self.expression,
            valid="give a day that one of its months has",
        )

    def previous_at_or_before(self, instant: datetime) -> datetime:
        """The last slot at or before `instant` (aware), in UTC; by definition one that `next_after` gives."""
        reach = _MINUTE
        while self.next_after(instant - reach) > instant and reach < _LONGEST_GAP:
            reach *= 2
        early, late = instant - reach, instant
        while late - early > _MINUTE:
            middle = early + (late - early) / 2
            if self.next_after(middle) > instant:
                late = middle
            else:
                early = middle
        return self.next_after(early)

    @property
    def granularity(self) -> Granularity:
        """How often slots come: what `date_field` then covers must leave no row out.

        More than one slot on a day is `hourly`. Otherwise the usual (median) gap decides: one day, as of a
        report for workdays, is `daily`; up to four weeks, so also every other day or Monday and Thursday,
        is `weekly`, because whole days since the last slot are then what is new; longer is `monthly`.
        """
        slots = islice(CronSim(self.pattern, _REFERENCE), 32)
        gaps = sorted(later - earlier for earlier, later in pairwise(slots))
        if gaps[0] < _DAY:
            return "hourly"
        usual = gaps[len(gaps) // 2]
        if usual < 2 * _DAY:
            return "daily"
        return "weekly" if usual < 4 * _WEEK else "monthly"


def zone_of(timezone: str) -> ZoneInfo:
    """The zone of an IANA name.

    Raises:
        ConfigurationError: There is no such zone.
    """
    try:
        return ZoneInfo(timezone)
    except (KeyError, ValueError, OSError):
        near = difflib.get_close_matches(timezone, available_timezones(), n=1, cutoff=0.7)
        raise ConfigurationError(
            "unknown time zone",
            column="timezone",
            value=timezone,
            valid=f"did you mean {near[0]}?" if near else "use an IANA name, e.g. UTC or Asia/Jakarta",
        ) from None


def _cronsim_pattern(expression: str) -> str:
    """The expression for cronsim, which reads three things otherwise than robfig.

    It takes any field that begins with `*` for unrestricted (and then "and"s the two day fields), lets
    `N/step` of the day of week run to 7, which is Sunday, and knows no `?`. Lists leave it no choice.
    """
    parts = expression.split()
    if len(parts) != len(_FIELDS):
        raise ConfigurationError(
            "a cron expression has five fields",
            column="cron_expression",
            value=expression,
            valid=_FIELDS_TEXT,
        )
    try:
        return " ".join(_values(part, of) for part, of in zip(parts, _FIELDS, strict=True))
    except _BadFieldError as error:
        raise ConfigurationError(
            "the cron expression is not valid",
            column="cron_expression",
            value=expression,
            valid=error.field.valid,
        ) from None


class _BadFieldError(Exception):
    def __init__(self, of: _Field) -> None:
        self.field = of


def _values(part: str, of: _Field) -> str:
    """The numbers of one field, `*` when it is unrestricted.

    Of a day field only a plain star is; every hour written as a list is as good as a star.
    """
    terms = part.split(",")
    numbers = sorted({number for term in terms for number in _numbers(term, of)})
    everything = len(numbers) == of.high - of.low + 1
    is_day = of.name.startswith("day")
    if any(term in ("*", "?", "*/1", "?/1") for term in terms) or (everything and not is_day):
        return "*"
    return ",".join(map(str, numbers))


def _numbers(term: str, of: _Field) -> range:
    match = _TERM.fullmatch(term)
    if match is None:
        raise _BadFieldError(of)
    low, high, step = match["low"], match["high"], int(match["step"] or 1)
    if low in ("*", "?"):
        first, last = of.low, of.high
    else:
        first = _number(low, of)
        last = _number(high, of) if high else max(of.high, first) if match["step"] else first
    if step == 0 or last < first or (high and low in ("*", "?")):
        raise _BadFieldError(of)
    return range(first, last + 1, step)


def _number(text: str, of: _Field) -> int:
    if text.upper() in of.names:
        return of.low + of.names.index(text.upper())
    if not (text.isascii() and text.isdigit()) or not of.low <= int(text) <= of.accepted:
        raise _BadFieldError(of)
    return int(text)
