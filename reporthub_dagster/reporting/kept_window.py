"""What `execution_context` keeps of an execution's window and slot, so that every attempt has the same."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from reporthub_dagster.reporting.records import TimeWindow


def window_to_json(window: TimeWindow) -> dict[str, Any]:
    """A window as `execution_context.time_range` keeps it."""
    zone = ZoneInfo(window.timezone)
    return {
        "start_datetime": f"{window.start.astimezone(zone):%Y-%m-%d %H:%M:%S}",
        "end_datetime": f"{window.end.astimezone(zone):%Y-%m-%d %H:%M:%S}",
        "calculation_method": window.method,
        "start": window.start.isoformat(),
        "end": window.end.isoformat(),
        "timezone": window.timezone,
        "granularity": window.granularity,
        "as_of": window.as_of.isoformat(),
    }


def window_from_json(document: Any) -> TimeWindow | None:
    """The window that an earlier attempt decided, or None where there is none that we wrote."""
    try:
        return TimeWindow(
            start=datetime.fromisoformat(document["start"]),
            end=datetime.fromisoformat(document["end"]),
            timezone=document["timezone"],
            method=document["calculation_method"],
            granularity=document["granularity"],
            as_of=datetime.fromisoformat(document["as_of"]),
        )
    except (KeyError, TypeError, ValueError):
        return None


def slot_context(slot: datetime, follows: datetime | None = None) -> dict[str, Any]:
    """What `execution_context` of a scheduled execution begins with."""
    context = {"slot": slot.isoformat()}
    return {**context, "follows": follows.isoformat()} if follows else context


def instant_from_context(context: Mapping[str, Any], key: str) -> datetime | None:
    """A moment that `slot_context` wrote, or None where there is none."""
    text = context.get(key)
    return datetime.fromisoformat(text) if isinstance(text, str) else None
