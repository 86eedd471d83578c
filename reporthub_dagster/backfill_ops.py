"""The ops of backfills: a partition of the asset `report_file`, and the windows of a schedule."""

from collections.abc import Iterator

import dagster as dg

from reporthub_dagster import attempt, own_run, run_metadata
from reporthub_dagster.backfilling import BackfillRequest, plan_backfill, queue_backfill, zone_of_days
from reporthub_dagster.opening import begin, tag_run
from reporthub_dagster.reporting.backfill import backfill_execution_id, config_id_of, day_window
from reporthub_dagster.reporting.records import ReportPlan, TimeWindow
from reporthub_dagster.resources import HubDatabase
from reporthub_dagster.run_config import BackfillConfig, PartitionRunConfig, ReportRunConfig, tags_of
from reporthub_dagster.settings import Settings


@dg.op(out=dg.Out(ReportPlan, is_required=False))
def compute_partition_window(
    context: dg.OpExecutionContext, config: PartitionRunConfig, hub: HubDatabase
) -> Iterator[dg.Output[ReportPlan]]:
    """As `compute_time_range`, for the report and the day of the run's partition."""
    with attempt.telling(context):
        launch, window = attempt.patiently(context, lambda: _of_partition(context, config, hub))
    yield from begin(context, launch, hub, window)


@dg.op
def queue_windows(
    context: dg.OpExecutionContext, config: BackfillConfig, hub: HubDatabase
) -> dg.Output[None]:
    """Queue an execution for each window; the sensor launches them as there is room."""
    backfill_id = context.run.root_run_id or context.run_id
    request = BackfillRequest(
        id=backfill_id,
        config_id=config.config_id,
        start=config.start,
        end=config.end,
        schedule_id=config.schedule_id or None,
        deliver=config.deliver,
        parameters=config.parameters,
        only_missing=config.only_missing,
        executed_by=config.executed_by,
    )
    tag_run(context, tags_of(config_id=config.config_id, executed_by=config.executed_by))
    zone = Settings.load().default_timezone
    with attempt.telling(context):
        now = attempt.patiently(context, hub.hub.now)
        plan = attempt.patiently(
            context, lambda: plan_backfill(hub.hub, request, now=now, default_timezone=zone)
        )
        queued = attempt.patiently(context, lambda: queue_backfill(hub.hub, plan, now))
    context.log.info(f"{queued:,} executions queued, {plan.left_out:,} windows left out: they are filled")
    return dg.Output(None, metadata=run_metadata.of_backfill(plan, queued))


def _of_partition(
    context: dg.OpExecutionContext, config: PartitionRunConfig, hub: HubDatabase
) -> tuple[ReportRunConfig, TimeWindow]:
    """What a partition asks for; its execution has one id however often the partition is tried.

    Raises:
        ConfigurationError: The key is not one of a report and a date.
    """
    report, day = own_run.partition_of(context)
    config_id = config_id_of(report)
    hub.repository.require(config_id=config_id, schedule_id=None)
    zone = zone_of_days(hub.repository, config_id, Settings.load().default_timezone)
    window = day_window(day, zone)
    launch = ReportRunConfig(
        config_id=config_id,
        execution_id=backfill_execution_id(own_run.backfill_of(context), config_id, window),
        parameters=config.parameters,
        deliver=config.deliver,
        executed_by=config.executed_by,
    )
    return launch, window
