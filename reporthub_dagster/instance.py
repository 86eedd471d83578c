"""The embedded Dagster instance: its folder, its file, and running the job in this process."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg

from reporthub_dagster.reporting.errors import ConfigurationError
from reporthub_dagster.run_config import EXECUTION_TAG, redelivery_config_of, run_config_of
from reporthub_dagster.settings import Settings
from reporthub_dagster.storage.atomic import atomic_file

EMBEDDED = """\
# The embedded Dagster instance: SQLite below this folder, runs in processes of this machine.
telemetry:
  enabled: false
nux:
  enabled: false
compute_logs:
  # Capture would start four processes a run; the ops say what matters in the run's own log.
  module: dagster._core.storage.noop_compute_log_manager
  class: NoOpComputeLogManager
"""


_MOST_ASKED = 100
_NOT_ENDED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]


def write_embedded_instance(settings: Settings) -> bool:
    """Write the instance's file where there is none; returns whether it did."""
    file = settings.dagster_home / "dagster.yaml"
    if file.exists():
        return False
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(file) as handle:
        handle.write(EMBEDDED.encode())
    return True


def prepare_instance(settings: Settings) -> str:
    """Make the operator's instance ready, else the embedded one; returns a line that says which it is.

    To open an instance creates the tables that its database lacks.

    Raises:
        ConfigurationError: The operator's cannot be used.
    """
    home = os.environ.get("DAGSTER_HOME")
    if home:
        with _instance():
            return f"Dagster instance: {home}"
    written = write_embedded_instance(settings)
    return f"embedded Dagster instance: {settings.dagster_home}{'' if written else ' (was there)'}"


def choose_instance(settings: Settings) -> None:
    """Make `DAGSTER_HOME` point at an instance: the operator's, else the embedded one.

    Raises:
        ConfigurationError: The embedded instance has not been written yet.
    """
    if os.environ.get("DAGSTER_HOME"):
        return
    if not (settings.dagster_home / "dagster.yaml").exists():
        raise ConfigurationError(
            "there is no Dagster instance", column="DAGSTER_HOME", valid="create it with: reporthub init"
        )
    os.environ["DAGSTER_HOME"] = str(settings.dagster_home)


def _instance() -> dg.DagsterInstance:
    """The instance in `DAGSTER_HOME`.

    Raises:
        ConfigurationError: It cannot be used; Dagster's own reasons have no common class.
    """
    try:
        return dg.DagsterInstance.get()
    except Exception as error:  # noqa: BLE001 - see above
        words = " ".join(str(error).split())
        raise ConfigurationError(
            f"the Dagster instance cannot be used: {words}", column="DAGSTER_HOME"
        ) from None


def cancel_runs(execution_ids: Collection[str]) -> int:
    """Cancel every run of some executions that has not ended; returns how many were told to end.

    Raises:
        ConfigurationError: The instance in `DAGSTER_HOME` cannot be used.
    """
    ids = sorted(execution_ids)
    told = 0
    with _instance() as instance:
        for start in range(0, len(ids), _MOST_ASKED):
            tags = {EXECUTION_TAG: ids[start : start + _MOST_ASKED]}
            for run in instance.get_runs(dg.RunsFilter(statuses=_NOT_ENDED, tags=tags)):
                told += bool(instance.run_coordinator.cancel_run(run.run_id))
    return told


def report_job() -> dg.JobDefinition:
    """The job as the code location has it, for `dagster.reconstructable`."""
    from reporthub_dagster.definitions import wiring  # noqa: PLC0415 - loading them takes a second

    return wiring().resolve_job_def("execute_report")


def redelivery_job() -> dg.JobDefinition:
    """As `report_job`."""
    from reporthub_dagster.definitions import wiring  # noqa: PLC0415 - as above

    return wiring().resolve_job_def("redeliver_report")


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A run that has ended.

    Attributes:
        error: What the first step that failed said; None when all went well.
    """

    run_id: str
    success: bool
    error: str | None


def run_report(config: Mapping[str, Any], *, talk: bool = True) -> FinishedRun:
    """Run a report in this process on the instance in `DAGSTER_HOME`.

    Args:
        config: Of the op `compute_time_range`.
        talk: Whether the ops' sentences go to stderr.

    Raises:
        ConfigurationError: The instance cannot be used.
    """
    return _run(report_job, run_config_of(config), talk=talk)


def run_redelivery(config: Mapping[str, Any], *, talk: bool = True) -> FinishedRun:
    """As `run_report`, of the op `open_redelivery`."""
    return _run(redelivery_job, redelivery_config_of(config), talk=talk)


def _run(job: Callable[[], dg.JobDefinition], run_config: Mapping[str, Any], *, talk: bool) -> FinishedRun:
    quiet = {"console": {"config": {"log_level": "CRITICAL"}}}
    whole = {**run_config, "loggers": {"terminal": {}} if talk else quiet}
    with (
        _instance() as instance,
        dg.execute_job(dg.reconstructable(job), instance, run_config=whole) as result,
    ):
        return FinishedRun(result.run_id, result.success, _first_error(result))


def _first_error(result: dg.JobExecutionResult) -> str | None:
    for event in result.all_events:
        if event.is_step_failure:
            told = event.step_failure_data.user_failure_data
            return str(told.description) if told else str(event.step_failure_data.error_display_string)
    return None
