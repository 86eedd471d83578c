"""The code location with short leases and quick sensors, so that no test waits a minute for a dead run."""

from __future__ import annotations

from reporthub_dagster.db import leases
from reporthub_dagster.definitions import defs
from reporthub_dagster.reaper_sensor import execution_reaper_sensor
from reporthub_dagster.sensors import report_schedule_sensor

__all__ = ["defs"]

leases.BEAT_SECONDS, leases.LEASE_SECONDS = 1.0, 8.0
for sensor in (report_schedule_sensor, execution_reaper_sensor):
    sensor._min_interval = 1  # noqa: SLF001 - Dagster reads it when the code server is asked for its sensors
