"""Runs in a worker's process: the instance, its pool and the jobs are kept from one run to the next."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from multiprocessing.synchronize import Event

import dagster as dg

from reporthub_dagster import stopping
from reporthub_dagster.dagster_internals import WarmJobs, capture_interrupts, execute
from reporthub_dagster.db.leases import Leases
from reporthub_dagster.resources import kept_hub
from reporthub_dagster.run_config import EXECUTION_TAG

LOOK_SECONDS = 2.0
"""How often a worker looks whether its run was cancelled or must stop."""
HANDED_OUT_AGAIN = "The broker has handed this run out again, which is"
"""How the run's log says so."""
_LAUNCHED = {dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING}
_WANTED = {*_LAUNCHED, dg.DagsterRunStatus.STARTED}
_log = logging.getLogger(__name__)


@dataclass
class RunProcess:
    """One process of a worker, which executes one run at a time.

    Attributes:
        must_stop: Set by the worker when the time for running reports is over.
    """

    must_stop: Event
    jobs: WarmJobs = field(default_factory=WarmJobs)
    _instance: dg.DagsterInstance | None = None

    def execute(self, run_id: str) -> None:
        """Execute a launched run; what becomes of it stands in Dagster's database and in ours.

        A run that another worker has started already is left to it, or to the reaper where that one died.
        """
        if self._instance is None:
            self._instance = dg.DagsterInstance.get()
        run = self._instance.get_run_by_id(run_id)
        if run is None:
            _log.warning("run %s has been deleted", run_id)
            return
        if run.status == dg.DagsterRunStatus.CANCELING:
            self._instance.report_run_canceled(run)
            return
        if run.status not in _LAUNCHED:
            self._instance.report_engine_event(f"{HANDED_OUT_AGAIN} {run.status.value}: left alone", run)
            return
        with _signals_kept(), capture_interrupts(), self._watched(self._instance, run_id):
            try:
                execute(self.jobs.of(run), run, self._instance)
            except BaseException as error:  # noqa: BLE001 - Dagster has written it down; the next run may come
                _log.warning("run %s was ended by %s", run_id, type(error).__name__)
        if stopping.is_stopping():
            give_back(self._instance, run_id)

    @contextmanager
    def _watched(self, instance: dg.DagsterInstance, run_id: str) -> Iterator[None]:
        """Interrupt the run when a person has cancelled it or the worker must stop."""
        ended = threading.Event()
        main = threading.get_ident()

        def watch() -> None:
            while not ended.wait(LOOK_SECONDS):
                if self._is_unwanted(instance, run_id):
                    signal.pthread_kill(main, signal.SIGINT)
                    return

        watcher = threading.Thread(target=watch, name=f"watch {run_id}", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join()

    def _is_unwanted(self, instance: dg.DagsterInstance, run_id: str) -> bool:
        if self.must_stop.is_set():
            stopping.stop()
            return True
        try:
            run = instance.get_run_by_id(run_id)
        except Exception as error:  # noqa: BLE001 - the database is away; a moment later it may be back
            _log.warning("cannot see whether run %s is still wanted: %s", run_id, type(error).__name__)
            return False
        return run is None or run.status not in _WANTED


def give_back(instance: dg.DagsterInstance, run_id: str) -> None:
    """Let the execution that a run still holds wait for another worker; nobody died over it."""
    run = instance.get_run_by_id(run_id)
    execution_id = run.tags.get(EXECUTION_TAG) if run else None
    if execution_id is None:
        return
    leases = Leases(kept_hub())
    for held in leases.open_executions([execution_id]):
        if held.status == "running" and held.holder and held.holder.claim.run_id == run_id:
            leases.settle(held, "queued", at=datetime.now(UTC))
            _log.warning("execution %s waits for another worker", execution_id)


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Leave the process's handlers as they were: Dagster gives SIGTERM the one of SIGINT for good."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
