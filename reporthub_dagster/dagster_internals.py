"""Everything of Dagster that we use and that is not its public API, in one place; tests fail when it moves.

Dagster's packages are pinned to one release, so this can only break when that pin is changed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dagster import DagsterInstance, DagsterRun, JobDefinition
from dagster._core.definitions.reconstruct import ReconstructableJob
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher import LaunchRunContext, RunLauncher
from dagster._grpc.impl import core_execute_run
from dagster._serdes import ConfigurableClass, ConfigurableClassData
from dagster._utils.hosted_user_process import recon_job_from_origin
from dagster._utils.interrupts import capture_interrupts
from dagster_mysql import DagsterMySQLStorage
from sqlalchemy import Engine

__all__ = [
    "ConfigurableClass",
    "ConfigurableClassData",
    "DagsterUserCodeUnreachableError",
    "LaunchRunContext",
    "RunLauncher",
    "WarmJobs",
    "ask_for_tables_once",
    "capture_interrupts",
    "execute",
    "share_engine",
]


def share_engine(storage: DagsterMySQLStorage, engine: Engine) -> None:
    """Let the run, event log and schedule storage use one engine instead of one each."""
    parts: tuple[Any, ...] = (storage.run_storage, storage.event_log_storage, storage.schedule_storage)
    for part in parts:
        part._engine = engine  # noqa: SLF001 - their constructors take none


def ask_for_tables_once(storage: DagsterMySQLStorage) -> None:
    """Let the storage find out once that its tables are of this release, not ten times a run.

    What still has to be migrated is asked about each time.
    """
    runs, events = storage.run_storage, storage.event_log_storage
    for part, question in ((runs, "has_run_stats_index_cols"), (events, "has_table")):
        setattr(part, question, _once_true(getattr(part, question)))


def _once_true(asks: Callable[..., bool]) -> Callable[..., bool]:
    known: set[tuple[object, ...]] = set()

    def asks_once(*subject: object) -> bool:
        if subject not in known and asks(*subject):
            known.add(subject)
        return subject in known

    return asks_once


class WarmJobs:
    """Jobs as runs name them, each built once a process instead of once a run."""

    def __init__(self) -> None:
        self._jobs: dict[tuple[object, str], tuple[ReconstructableJob, JobDefinition]] = {}

    def of(self, run: DagsterRun) -> ReconstructableJob:
        """The job of a run."""
        origin = run.job_code_origin
        if origin is None:
            raise ValueError(f"run {run.run_id} does not say which job it is of")
        key = (origin.repository_origin.code_pointer, origin.job_name)
        if key not in self._jobs:
            job = recon_job_from_origin(origin)
            self._jobs[key] = (job, job.get_definition())
        return self._jobs[key][0]


def execute(job: ReconstructableJob, run: DagsterRun, instance: DagsterInstance) -> None:
    """Execute a launched run in this thread, as Dagster's own run workers do.

    Raises:
        BaseException: What ended the run; it stands in the run's event log already.
    """
    for _ in core_execute_run(job, run, instance, inject_env_vars=False):
        pass
