"""The queue of `dagster.yaml`: Dagster's own, in which every run says which data source it will ask.

A limit for each value of a tag goes by the tags of the runs that wait. Runs of a backfill, and those that a
program launches by an id alone, would learn their data source when they begin: nothing would hold them back.
"""

from __future__ import annotations

import logging

import dagster as dg

from reporthub_dagster.db.executions import Executions
from reporthub_dagster.db.repository import Repository
from reporthub_dagster.db.session import Hub, is_absent
from reporthub_dagster.own_run import CONFIG_DIMENSION
from reporthub_dagster.reporting.backfill import config_id_of
from reporthub_dagster.reporting.errors import ReportHubError
from reporthub_dagster.resources import kept_hub
from reporthub_dagster.run_config import DATASOURCE_TAG
from reporthub_dagster.settings import Settings

_PARTITION_TAG = f"dagster/partition/{CONFIG_DIMENSION}"
"""Dagster's own: the report of a run of `report_file`."""
_PARTITIONED = dg.AssetKey("report_file")
_log = logging.getLogger(__name__)


class ReportRunCoordinator(dg.QueuedRunCoordinator):
    """As `QueuedRunCoordinator`, with its configuration; a run has its data source's tag before it waits."""

    def submit_run(self, context: dg.SubmitRunContext) -> dg.DagsterRun:
        """Tag a run and let it wait; one whose data source cannot be found out waits without the tag."""
        run = context.dagster_run
        if DATASOURCE_TAG not in run.tags:
            source_id = _datasource_of(run)
            if source_id is not None:
                self._instance.add_run_tags(run.run_id, {DATASOURCE_TAG: str(source_id)})
        return super().submit_run(context)


def _datasource_of(run: dg.DagsterRun) -> int | None:
    """The data source of a run's report; None where it has none, or says so itself when it begins."""
    try:
        if is_absent(Settings.load().hub_url):
            return None
        hub = kept_hub()
        try:
            config_id = _config_of(run, hub)
            return Repository(hub).report_config(config_id).datasource_id if config_id else None
        finally:
            hub.release()
    except ReportHubError as error:
        _log.warning("Run %s waits without the tag of its data source: %s", run.run_id, error)
        return None


def _config_of(run: dg.DagsterRun, hub: Hub) -> int | None:
    """The report that a run is about.

    Raises:
        ConfigurationError: Its partition is none of a report.
        TransientError: The shared database does not answer.
    """
    report = run.tags.get(_PARTITION_TAG)
    if report is not None and _PARTITIONED in (run.asset_selection or ()):
        return config_id_of(report)
    if run.job_name != "execute_report":
        return None
    match run.run_config:
        case {"ops": {"compute_time_range": {"config": {"execution_id": str(execution_id)}}}} if execution_id:
            execution = Executions(hub).find(execution_id)
            return execution.config_id if execution else None
        case {"ops": {"compute_time_range": {"config": {"config_id": int(config_id)}}}}:
            return config_id
    return None
