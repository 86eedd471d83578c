"""The sensor that keeps the partitions of `report_file` in step with the active reports."""

import dagster as dg

from reporthub_dagster.partitions import key_changes, report_keys
from reporthub_dagster.resources import HubDatabase

PARTITION_SECONDS = 60
_MOST_CHANGES = 500
"""Keys that one tick adds or deletes: Dagster keeps them in the tick's row of 64 KiB."""


@dg.sensor(
    name="report_partitions_sensor",
    description="Active rows of report_configs become partitions of report_file.",
    minimum_interval_seconds=PARTITION_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def report_partitions_sensor(context: dg.SensorEvaluationContext, hub: HubDatabase) -> dg.SensorResult:
    """Add and delete keys until they are those of the active reports."""
    name = report_keys.name
    reports = hub.catalog.keys(hub.repository.active_reports())
    changes = key_changes(context.instance.get_dynamic_partitions(str(name)), reports)
    add, delete = list(changes.add[:_MOST_CHANGES]), list(changes.delete[:_MOST_CHANGES])
    message = f"{len(reports):,} active reports; {len(add):,} keys added, {len(delete):,} deleted"
    requests: list[dg.AddDynamicPartitionsRequest | dg.DeleteDynamicPartitionsRequest] = []
    if add:
        requests.append(report_keys.build_add_request(add))
    if delete:
        requests.append(report_keys.build_delete_request(delete))
    return dg.SensorResult(dynamic_partitions_requests=requests, skip_reason=dg.SkipReason(message))
