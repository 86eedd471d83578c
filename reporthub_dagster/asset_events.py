"""What runs tell Dagster's catalog of a report: the files that were made, and how its checks went."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from zoneinfo import ZoneInfo

import dagster as dg

from reporthub_dagster import run_metadata
from reporthub_dagster.reporting.errors import ReportHubError
from reporthub_dagster.reporting.records import MadeReport, TimeWindow
from reporthub_dagster.reporting.report_checks import COMPARED, judge
from reporthub_dagster.resources import HubDatabase
from reporthub_dagster.settings import Settings

Say = Callable[[str], object]


def asset_key_of(key: str) -> dg.AssetKey:
    """The asset of a report, by its key in the catalog."""
    return dg.AssetKey(["reports", key])


def materialization(hub: HubDatabase, report: MadeReport) -> dg.AssetMaterialization:
    """The files of an execution that has just made them.

    Raises:
        ReportHubError: The shared database does not do its work.
    """
    plan, row_count = report.plan, sum(result.row_count for result in report.results)
    key = hub.catalog.made(plan.config_id, plan.execution_id, row_count)
    return dg.AssetMaterialization(
        asset_key=asset_key_of(key),
        partition=partition_of(plan.window),
        metadata=run_metadata.of_product(report),
    )


def evaluations(hub: HubDatabase, execution_id: str) -> Iterator[dg.AssetCheckEvaluation]:
    """How the checks of a report go for an execution, as its row is now.

    Raises:
        ReportHubError: The shared database does not do its work.
    """
    execution = hub.executions.find(execution_id)
    if execution is None:
        return
    entry = hub.catalog.entry(execution.config_id)
    earlier = [count for _, count in entry.others(execution_id)][:COMPARED]
    late_after = timedelta(minutes=Settings.load().late_minutes)
    at = execution.completed_at or hub.hub.now()
    for verdict in judge(execution, earlier, late_after=late_after, at=at):
        yield dg.AssetCheckEvaluation(
            asset_key=asset_key_of(entry.key),
            check_name=verdict.check,
            passed=verdict.passed,
            severity=dg.AssetCheckSeverity.ERROR if verdict.is_failure else dg.AssetCheckSeverity.WARN,
            description=verdict.text,
            metadata=run_metadata.of_execution(execution),
        )


def report(instance: dg.DagsterInstance, hub: HubDatabase, execution_id: str, say: Say) -> None:
    """Evaluate the checks from outside an op, or from one that fails: its own events would be lost."""
    with harmless(say):
        for evaluation in evaluations(hub, execution_id):
            instance.report_runless_asset_event(evaluation)


@contextmanager
def harmless(say: Say) -> Iterator[None]:
    """The catalog is a view: where it cannot be written the report goes on, and the log says so."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - whatever it is, no report fails for it
        words = str(error) if isinstance(error, ReportHubError) else type(error).__name__
        say(f"Dagster's catalog was not told: {words}")


def partition_of(window: TimeWindow) -> str:
    """The window's start in its zone, as Dagster writes the keys of days and hours."""
    start = window.start.astimezone(ZoneInfo(window.timezone))
    return f"{start:%Y-%m-%d}" if (start.hour, start.minute) == (0, 0) else f"{start:%Y-%m-%d-%H:%M}"
