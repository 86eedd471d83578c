"""Instants as wall-clock time of an IANA zone, column by column and exact for every date.

Arrow's own cast needs the operating system's zone files, which slim images lack, and prints offsets without
their seconds (Jakarta before 1924 is +07:07:12). Offsets come from `zoneinfo` instead: it is asked twice for
each UTC day that occurs, and row by row only on the rare day in which the offset changes. Days that follow
each other have the same offset for months, and in many zones for ever: then no row is looked at.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache

import pyarrow as pa
import pyarrow.compute as pc

DAY_US = 86_400_000_000
_MOST_DAYS = 4_000
"""So many days are asked for one offset that holds for all of them before the rows are."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FIRST, _LAST = (
    (edge.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
    for edge in (datetime.min, datetime.max)  # noqa: DTZ901
)


def wall_clock(instants: pa.Array, zone: tzinfo) -> tuple[pa.Array, pa.Array]:
    """Wall-clock time of UTC instants.

    Args:
        instants: timestamp[us] in UTC; nulls stay null.
        zone: Zone in which people read them.

    Returns:
        The local times as naive timestamp[us], and the offsets from UTC in microseconds as int64.
    """
    utc = instants.cast(pa.timestamp("us", "UTC")).cast(pa.int64())
    offsets = _offsets(utc, zone)
    return pc.add(utc, offsets).cast(pa.timestamp("us")), offsets


def offset_texts(offsets: pa.Array) -> pa.Array:
    """Offsets in microseconds as `+07:00`; with seconds, `+07:07:12`, where the zone had them."""
    distinct = pc.unique(offsets)
    texts = [_offset_text(offset) for offset in distinct.to_pylist()]
    if len(texts) == 1:
        return pa.repeat(pa.scalar(texts[0], pa.large_utf8()), len(offsets))
    return pa.array(texts, pa.large_utf8()).take(pc.index_in(offsets, distinct))


def floor_divide(numbers: pa.Array, divisor: int) -> pa.Array:
    """Integer division that rounds towards minus infinity; Arrow's own rounds towards zero."""
    quotient = pc.divide(numbers, divisor)
    uneven = pc.and_(pc.less(numbers, 0), pc.not_equal(pc.multiply(quotient, divisor), numbers))
    return pc.subtract(quotient, uneven.cast(pa.int64()))


def _offsets(utc: pa.Array, zone: tzinfo) -> pa.Array:
    steady = _steady_offset(utc, zone)
    if steady is not None:
        offsets = pa.repeat(pa.scalar(steady, pa.int64()), len(utc))
        return pc.if_else(utc.is_valid(), offsets, None) if utc.null_count else offsets
    days = floor_divide(utc, DAY_US)
    distinct = pc.drop_null(pc.unique(days))
    known = [_offset_of_day(day, zone) for day in distinct.to_pylist()]
    offsets = pa.array(known, pa.int64()).take(pc.index_in(days, distinct))
    if None not in known:
        return offsets
    return pa.array(
        [
            _offset(instant, zone) if offset is None and instant is not None else offset
            for instant, offset in zip(utc.to_pylist(), offsets.to_pylist(), strict=True)
        ],
        pa.int64(),
    )


def _steady_offset(utc: pa.Array, zone: tzinfo) -> int | None:
    """The offset of every day from the first of these instants to the last, if it is one."""
    first, last = (edge and edge // DAY_US for edge in pc.min_max(utc).as_py().values())
    if first is None or last - first >= _MOST_DAYS:
        return None
    offset = _offset_of_day(first, zone)
    return offset if all(_offset_of_day(day, zone) == offset for day in range(first + 1, last + 1)) else None


@lru_cache(maxsize=4 * _MOST_DAYS)
def _offset_of_day(day: int, zone: tzinfo) -> int | None:
    """The offset of a whole UTC day, or None when it changes within it."""
    first, last = _offset(day * DAY_US, zone), _offset((day + 1) * DAY_US - 1, zone)
    return first if first == last else None


def _offset(instant: int, zone: tzinfo) -> int:
    """Offset in microseconds; beyond the years 1 to 9999 that of the nearest day within."""
    within = min(max(instant, _FIRST + DAY_US), _LAST - DAY_US)
    moment = (_EPOCH + timedelta(microseconds=within)).astimezone(zone)
    return (moment.utcoffset() or timedelta()) // _MICROSECOND


def _offset_text(offset: int | None) -> str | None:
    if offset is None:
        return None
    seconds = abs(offset) // 1_000_000
    hours, minutes, rest = seconds // 3600, seconds // 60 % 60, seconds % 60
    text = f"{'-' if offset < 0 else '+'}{hours:02}:{minutes:02}"
    return f"{text}:{rest:02}" if rest else text
