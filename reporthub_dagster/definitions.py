"""What Dagster loads: a wiring list and nothing else."""

from __future__ import annotations

from functools import cache

import dagster as dg

from reporthub_dagster.catalog import report_catalog
from reporthub_dagster.jobs import backfill_report, execute_report, redeliver_report, report_file
from reporthub_dagster.partition_sensor import report_partitions_sensor
from reporthub_dagster.purge_schedule import purge_files, purge_files_daily
from reporthub_dagster.reaper_sensor import execution_reaper_sensor
from reporthub_dagster.resources import HubDatabase, Mailer, OutputStore
from reporthub_dagster.retry_sensor import delivery_retry_sensor
from reporthub_dagster.sensors import report_schedule_sensor
from reporthub_dagster.terminal import terminal_logger
from reporthub_dagster.trial_jobs import test_datasource, test_delivery


@cache
def wiring() -> dg.Definitions:
    """What runs, and what starts it."""
    return dg.Definitions(
        assets=[report_file],
        jobs=[execute_report, redeliver_report, backfill_report, test_delivery, test_datasource, purge_files],
        schedules=[purge_files_daily],
        sensors=[
            report_schedule_sensor,
            execution_reaper_sensor,
            delivery_retry_sensor,
            report_partitions_sensor,
        ],
        resources={"hub": HubDatabase(), "store": OutputStore(), "mailer": Mailer()},
        loggers={"console": dg.colored_console_logger, "terminal": terminal_logger},
        executor=dg.in_process_executor,
    )


@dg.definitions
def defs() -> dg.Definitions:
    """The same, and the reports as they are when it is loaded."""
    return dg.Definitions.merge(wiring(), report_catalog())
