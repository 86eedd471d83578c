"""Records for the domain's tests: everything has a default, a test names only what it is about."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from reporthub_dagster.reporting.records import (
    CalculationMethod,
    Granularity,
    ReportConfig,
    Schedule,
    TimeWindow,
)


def utc(text: str) -> datetime:
    """`2025-01-31 08:00` as an aware UTC instant."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def instants(first: str, last: str) -> st.SearchStrategy[datetime]:
    """Any second of a span, in UTC."""
    seconds = st.integers(int(utc(first).timestamp()), int(utc(last).timestamp()))
    return seconds.map(lambda second: datetime.fromtimestamp(second, UTC))


def wall(text: str, zone: str, fold: int = 0) -> datetime:
    """A wall time of a zone as a UTC instant."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC)


def schedule(
    cron: str = "0 8 * * *", zone: str = "UTC", last_run_at: datetime | None = None, schedule_id: int = 7
) -> Schedule:
    return Schedule(schedule_id, 1, cron, zone, True, last_run_at, None)


def window(
    start: str = "2025-01-30 08:00",
    end: str = "2025-01-31 08:00",
    zone: str = "UTC",
    method: CalculationMethod = "last_run_at",
    granularity: Granularity = "daily",
) -> TimeWindow:
    return TimeWindow(utc(start), utc(end), zone, method, granularity, utc(end))


def config(
    query: str = "SELECT 1", parameters: Mapping[str, Any] | None = None, file_name: str | None = None
) -> ReportConfig:
    return ReportConfig(
        id=42,
        name="Daily orders",
        query=query,
        output_format="csv",
        datasource_id=3,
        file_name=file_name,
        parameters=parameters or {},
        timeout_seconds=300,
        max_rows=10_000,
        is_active=True,
    )
