"""Runs in a worker's process: the instance, its pool and the jobs are kept from one run to the next."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from multiprocessing.synchronize import Event

import dagster as dg

from reporthub_dagster import stopping
from reporthub_dagster.attempt import environment_secrets
from reporthub_dagster.dagster_internals import WarmJobs, capture_interrupts, execute
from reporthub_dagster.db.leases import Leases
from reporthub_dagster.reporting.redaction import redact
from reporthub_dagster.resources import kept_hub
from reporthub_dagster.run_config import EXECUTION_TAG, GIVEN_BACK_TAG

LOOK_SECONDS = 2.0
"""How often a worker looks whether its run was cancelled or must stop."""
TRIES = 3
"""How often a run that does not begin is tried."""
HANDED_OUT_AGAIN = "The broker has handed this run out again, which is"
"""How the run's log says so."""
_LAUNCHED = {dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING}
_WANTED = {*_LAUNCHED, dg.DagsterRunStatus.STARTED}
_log = logging.getLogger(__name__)


class NotBegunError(Exception):
    """This process must stop, and nothing of a run has begun: its message is for another one."""


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
        While Dagster's database is away the run waits: nobody else has its message.

        Raises:
            NotBegunError: The process must stop before the run has begun.
        """
        with _signals_kept(), capture_interrupts(), self._stoppable(run_id):
            instance, run = self._found(run_id)
            if run is None:
                _log.warning("run %s has been deleted", run_id)
            elif run.status == dg.DagsterRunStatus.CANCELING:
                instance.report_run_canceled(run)
            elif run.status not in _LAUNCHED:
                instance.report_engine_event(f"{HANDED_OUT_AGAIN} {run.status.value}: left alone", run)
            else:
                self._begin(instance, run)
                if stopping.is_stopping():
                    give_back(instance, run_id)

    def _begin(self, instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
        """Execute a run; where Dagster does not know that it has begun, it has not: another try."""
        for _ in range(TRIES):
            error = self._ended(instance, run)
            if error is None:
                return
            _log.warning("run %s was ended by %s", run.run_id, type(error).__name__)
            _, found = self._found(run.run_id)
            if found is None or found.status not in _LAUNCHED:
                return
        words = redact(f"{type(error).__name__}: {error}", environment_secrets())
        instance.report_run_failed(run, f"it did not begin in {TRIES} tries: {words}")

    def _ended(self, instance: dg.DagsterInstance, run: dg.DagsterRun) -> BaseException | None:
        """What ended a run before its time; Dagster has written it down, if its database answered."""
        with self._watched(instance, run.run_id):
            try:
                execute(self.jobs.of(run), run, instance)
            except BaseException as error:  # noqa: BLE001 - whatever it was, the next run may come
                return error
        return None

    def _found(self, run_id: str) -> tuple[dg.DagsterInstance, dg.DagsterRun | None]:
        """The instance, and a run as it is now; waits for them.

        Raises:
            NotBegunError: The process must stop, and the run waits or cannot be looked at.
        """
        while True:
            try:
                self._instance = self._instance or dg.DagsterInstance.get()
                run = self._instance.get_run_by_id(run_id)
            except Exception as error:  # noqa: BLE001 - whatever a database that is away makes of Dagster
                words = redact(str(error).partition("\n")[0], environment_secrets())
                _log.warning("run %s waits for Dagster's database: %s", run_id, words)
            else:
                if not (stopping.is_stopping() and run and run.status in _LAUNCHED):
                    return self._instance, run
            if stopping.is_stopping():
                raise NotBegunError(run_id)
            time.sleep(LOOK_SECONDS)

    @contextmanager
    def _stoppable(self, run_id: str) -> Iterator[None]:
        """Stop within the block when the worker must: that asks no database, which may be away."""

        def must_stop() -> bool:
            if not self.must_stop.is_set():
                return False
            stopping.stop()
            with suppress(Exception):
                # Before the run ends: else it would look like one that a person has interrupted.
                if self._instance is not None:
                    self._instance.add_run_tags(run_id, {GIVEN_BACK_TAG: "true"})
            return True

        with _interrupted_when(must_stop, f"stop {run_id}"):
            yield

    @contextmanager
    def _watched(self, instance: dg.DagsterInstance, run_id: str) -> Iterator[None]:
        """Interrupt the run when a person has cancelled it."""

        def is_unwanted() -> bool:
            try:
                run = instance.get_run_by_id(run_id)
            except Exception as error:  # noqa: BLE001 - the database is away; a moment later it may be back
                _log.warning("cannot see whether run %s is still wanted: %s", run_id, type(error).__name__)
                return False
            return run is None or run.status not in _WANTED

        with _interrupted_when(is_unwanted, f"watch {run_id}"):
            yield


@contextmanager
def _interrupted_when(condition: Callable[[], bool], name: str) -> Iterator[None]:
    """Send this thread SIGINT, once, when a condition becomes true within the block."""
    ended = threading.Event()
    main = threading.get_ident()

    def watch() -> None:
        while not ended.wait(LOOK_SECONDS):
            if condition():
                signal.pthread_kill(main, signal.SIGINT)
                return

    watcher = threading.Thread(target=watch, name=name, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def give_back(instance: dg.DagsterInstance, run_id: str) -> None:
    """Let the execution that a run still holds wait for another worker; nobody died over it.

    Where a database is away the reaper does it later, by the run's tag or by its lease.
    """
    try:
        run = instance.get_run_by_id(run_id)
        execution_id = run.tags.get(EXECUTION_TAG) if run else None
        if execution_id is None:
            return
        leases = Leases(kept_hub())
        for held in leases.open_executions([execution_id]):
            if held.status == "running" and held.holder and held.holder.claim.run_id == run_id:
                leases.settle(held, "queued", at=datetime.now(UTC))
                _log.warning("execution %s waits for another worker", execution_id)
    except Exception as error:  # noqa: BLE001 - of either database; whatever it is, this process ends
        _log.warning("run %s could not be given back: %s", run_id, type(error).__name__)


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Leave the process's handlers as they were: Dagster gives SIGTERM the one of SIGINT for good."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
