"""The job that removes old files, and the schedule that runs it every day."""

from collections import Counter
from datetime import timedelta

import dagster as dg

from reporthub_dagster.db.uses import Uses
from reporthub_dagster.purging import Purge
from reporthub_dagster.resources import HubDatabase
from reporthub_dagster.settings import Settings


@dg.op
def purge_old_files(context: dg.OpExecutionContext, hub: HubDatabase) -> None:
    """Remove the folders of executions that ended longer ago than REPORTHUB_KEEP_FILES_DAYS."""
    settings = Settings.load()
    if not settings.keep_files_days:
        context.log.info("REPORTHUB_KEEP_FILES_DAYS is 0: files are kept for ever")
        return
    before = hub.hub.now() - timedelta(days=settings.keep_files_days)
    purge = Purge(settings.output_folder, Uses(hub.hub).of, before)
    counts: Counter[str] = Counter()
    freed = 0
    for verdict in purge.run():
        counts[verdict.fate] += 1
        freed += verdict.bytes
    context.log.info(f"{counts['purged']:,} folders removed, {freed:,} bytes")
    context.add_output_metadata({"before": before.isoformat(), "bytes": freed, **counts})


@dg.job(
    description="Removes the files of executions that ended longer ago than `REPORTHUB_KEEP_FILES_DAYS`; "
    "their rows stay. `purge_files_daily` runs it every night; it needs no config. How much went is in the "
    "metadata of the run.",
    executor_def=dg.in_process_executor,
    tags={"reporthub/kind": "purge"},
)
def purge_files() -> None:
    """Retention."""
    purge_old_files()


purge_files_daily = dg.ScheduleDefinition(
    name="purge_files_daily",
    target=purge_files,
    cron_schedule="17 3 * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Removes the files of executions that ended REPORTHUB_KEEP_FILES_DAYS ago.",
)
