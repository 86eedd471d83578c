"""The sensor that keeps schedules: it asks `scheduling` and passes the answer on to Dagster."""

import os
from collections.abc import Iterator

import dagster as dg

from reporthub_dagster.db.schedulers import Schedulers
from reporthub_dagster.jobs import execute_report
from reporthub_dagster.launching import Launch
from reporthub_dagster.resources import HubDatabase
from reporthub_dagster.run_config import BACKFILL_PRIORITY, PRIORITY_TAG, run_config_of, tags_of
from reporthub_dagster.runs import not_started, tell_tick
from reporthub_dagster.scheduling import Scheduler
from reporthub_dagster.settings import CHECK_INTERVAL, Settings
from reporthub_dagster.status import SCHEDULE_SENSOR


@dg.sensor(
    # By name: of a sensor that holds its job Dagster 1.13 makes a copy, and warns of its own beta parameter.
    job_name=execute_report.name,
    name=SCHEDULE_SENSOR,
    default_status=dg.DefaultSensorStatus.RUNNING,
    # The one setting that Dagster needs when it loads the definitions.
    minimum_interval_seconds=Settings.load(
        {CHECK_INTERVAL: os.environ.get(CHECK_INTERVAL, "")}
    ).sensor_interval_seconds,
    description="Due slots of report_schedules and queued rows of report_executions become runs.",
)
def report_schedule_sensor(
    context: dg.SensorEvaluationContext, hub: HubDatabase
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """Runs for everything that is due or queued; the fault of one schedule stops no other."""
    settings = Settings.load()
    scheduler = Scheduler(hub.hub, settings.schedule_policy)
    outcome = scheduler.tick(
        hub.hub.now(), lambda execution_ids: not_started(context.instance, execution_ids)
    )
    tell_tick(context, outcome.message)
    Schedulers(hub.hub).ticked(settings.scheduler_name, SCHEDULE_SENSOR, outcome.message)
    if not outcome.launches:
        yield dg.SkipReason(outcome.message)
    for launch in outcome.launches:
        yield _request(launch)


def _request(launch: Launch) -> dg.RunRequest:
    tags = tags_of(
        execution_id=launch.execution_id,
        config_id=launch.config_id,
        schedule_id=launch.schedule_id,
        executed_by=launch.executed_by,
        datasource_id=launch.datasource_id,
    )
    if launch.is_backfill:
        tags[PRIORITY_TAG] = BACKFILL_PRIORITY
    return dg.RunRequest(
        run_key=launch.run_key,
        run_config=run_config_of({"execution_id": launch.execution_id}),
        tags=tags,
    )
