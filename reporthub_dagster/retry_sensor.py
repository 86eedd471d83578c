"""The sensor that starts the next attempt of deliveries, when it is due."""

import dagster as dg

from reporthub_dagster.db.retries import DueExecution
from reporthub_dagster.jobs import redeliver_report
from reporthub_dagster.resources import HubDatabase
from reporthub_dagster.run_config import RETRY_TAG, redelivery_config_of, tags_of
from reporthub_dagster.runs import not_started, tell_tick

RETRY_SECONDS = 15
MOST_RETRIES = 50
"""Runs asked for in one tick: Dagster writes all of them into one row of 64 KiB before it starts any."""
_PATIENCE_SECONDS = 600.0
"""A run that was asked for and has not taken its execution for so long is asked for again."""


@dg.sensor(
    job_name=redeliver_report.name,
    name="delivery_retry_sensor",
    description="Starts a redelivery of every execution that has a retry due, the oldest first.",
    minimum_interval_seconds=RETRY_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def delivery_retry_sensor(context: dg.SensorEvaluationContext, hub: HubDatabase) -> dg.SensorResult:
    """One tick."""
    due = hub.retries.due(MOST_RETRIES)
    under_way = not_started(context.instance, [one.execution_id for one in due])
    requests = [request_of(one) for one in due if one.execution_id not in under_way]
    message = f"executions with a retry due: {len(due):,}; runs asked for: {len(requests):,}"
    if under_way:
        message += f"; asked for before, not started: {len(under_way):,}"
    tell_tick(context, message)
    return dg.SensorResult(run_requests=requests, skip_reason=None if requests else message)


def request_of(due: DueExecution) -> dg.RunRequest:
    """The next attempt; the token of the lease is another one for each, so asking twice is asking once."""
    asked = int(due.late_seconds // _PATIENCE_SECONDS)
    return dg.RunRequest(
        run_key=f"{due.execution_id}:retry-{due.token}-{asked}",
        run_config=redelivery_config_of({"execution_id": due.execution_id}),
        tags={
            RETRY_TAG: "due",
            **tags_of(
                execution_id=due.execution_id,
                config_id=due.config_id,
                schedule_id=due.schedule_id,
                executed_by=due.executed_by,
            ),
        },
    )
