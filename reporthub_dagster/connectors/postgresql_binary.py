"""PostgreSQL's numbers and times in their binary forms, turned into Arrow arrays of the same types.

Days and microseconds count from 1 January 2000, with both ends of the integer for infinity
(src/include/datatype/timestamp.h). Each function makes a column from arrays of the integers that were sent.
"""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from reporthub_dagster.connectors.arrow_columns import TextColumn

_EPOCH_DAYS = 10_957
"""1 January 2000, in days since 1970."""
_FIRST_DAY, _LAST_DAY = -730_119, 2_921_939
"""1 January of the year 1 and 31 December 9999, in days since 2000."""
_DAY_MICROSECONDS = 86_400_000_000


def number(name: str, kind: pa.DataType) -> TextColumn:
    """Whole numbers and floating point of any width."""
    return _column(name, kind, lambda values: (values, 0))


def boolean(name: str) -> TextColumn:
    """A byte that is 0 or 1."""
    return _column(name, pa.bool_(), lambda values: (values.cast(pa.bool_()), 0))


def date(name: str) -> TextColumn:
    """Days → date32; what is no day of the years 1 to 9999 becomes NULL, counted."""
    return _column(name, pa.date32(), lambda values: _since_2000(values, pa.date32(), of_a_day=1))


def timestamp(name: str, zone: str | None = None) -> TextColumn:
    """Microseconds → timestamp[us]; outside the years 1 to 9999 NULL, counted."""
    kind = pa.timestamp("us", zone)
    return _column(name, kind, lambda values: _since_2000(values, kind, of_a_day=_DAY_MICROSECONDS))


def time_of_day(name: str) -> TextColumn:
    """Microseconds → time64[us]; 24:00, which PostgreSQL has, is a misfit."""

    def convert(values: pa.Array) -> tuple[pa.Array, int]:
        latest = pc.max(values).as_py()
        if latest is not None and latest >= _DAY_MICROSECONDS:
            raise pa.ArrowInvalid("not a time of a day")
        return values.view(pa.time64("us")), 0

    return _column(name, pa.time64("us"), convert)


def _column(name: str, kind: pa.DataType, convert: Callable[[pa.Array], tuple[pa.Array, int]]) -> TextColumn:
    return TextColumn(pa.field(name, kind), convert, pa.field(name, pa.utf8()), raw=True)


def _since_2000(values: pa.Array, kind: pa.DataType, *, of_a_day: int) -> tuple[pa.Array, int]:
    first, last = _FIRST_DAY * of_a_day, (_LAST_DAY + 1) * of_a_day - 1
    ends = pc.min_max(values)
    found = values
    if ends["min"].is_valid and not first <= ends["min"].as_py() <= ends["max"].as_py() <= last:
        within = pc.and_(pc.greater_equal(values, first), pc.less_equal(values, last))
        found = pc.if_else(within, values, pa.scalar(None, values.type))
    moved = pc.add(found, pa.scalar(_EPOCH_DAYS * of_a_day, values.type))
    return moved.view(kind), moved.null_count - values.null_count
