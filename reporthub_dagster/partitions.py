"""The partitions of the asset `report_file`: reports by days; keeping the reports in step with the rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import dagster as dg

from reporthub_dagster.own_run import CONFIG_DIMENSION, DATE_DIMENSION
from reporthub_dagster.reporting.backfill import config_id_of
from reporthub_dagster.reporting.errors import ConfigurationError
from reporthub_dagster.settings import BACKFILL_DAYS, DEFAULT_TIMEZONE, Settings

report_keys = dg.DynamicPartitionsDefinition(name="reporthub_configs")


def report_partitions() -> dg.MultiPartitionsDefinition:
    """Reports by days, the days from the first of the month REPORTHUB_BACKFILL_DAYS ago to yesterday.

    The first of a month, so that servers and runs that were started on different days agree on the days.
    """
    settings = Settings.load_only(BACKFILL_DAYS, DEFAULT_TIMEZONE)
    today = datetime.now(ZoneInfo(settings.default_timezone))
    start = (today - timedelta(days=settings.backfill_days)).replace(day=1)
    days = dg.DailyPartitionsDefinition(f"{start:%Y-%m-%d}", timezone=settings.default_timezone)
    return dg.MultiPartitionsDefinition({CONFIG_DIMENSION: report_keys, DATE_DIMENSION: days})


@dataclass(frozen=True, slots=True)
class KeyChanges:
    """What makes the keys those of the active reports."""

    add: tuple[str, ...]
    delete: tuple[str, ...]


def key_changes(present: Iterable[str], reports: Mapping[int, str]) -> KeyChanges:
    """How the keys differ from the active reports.

    A report keeps its key when it gets another name: under a new one its past would look missing.

    Args:
        present: The keys there are.
        reports: Id and key of the active reports.
    """
    known: dict[int, str] = {}
    delete = []
    for key in sorted(present):
        config_id = _config_id(key)
        if config_id in reports and config_id not in known:
            known[config_id] = key
        else:
            delete.append(key)
    add = tuple(key for config_id, key in reports.items() if config_id not in known)
    return KeyChanges(add, tuple(delete))


def _config_id(key: str) -> int:
    try:
        return config_id_of(key)
    except ConfigurationError:
        return 0
