"""The worker: starts warm processes, renews them, and ends in order."""

from __future__ import annotations

import gc
import importlib
import logging
import multiprocessing
import os
import signal
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from multiprocessing.synchronize import Event
from typing import Any

from celery import Celery, signals
from celery.exceptions import Reject

from reporthub_dagster.connectors.registry import CONNECTORS
from reporthub_dagster.destinations.registry import DESTINATIONS
from reporthub_dagster.renderers.registry import RENDERERS
from reporthub_dagster.reporting.errors import ConfigurationError
from reporthub_dagster.worker.app import TASK, celery_app
from reporthub_dagster.worker.runs import NotBegunError, RunProcess

LAST_SECONDS = 15.0
"""How long a report that was told to stop may take to say good-bye, before its process is killed."""
_MEGABYTE_IN_KIB = 1000 * 1000 / 1024
_USED_BY_REPORTS = (
    "reporthub_dagster.producing",
    "reporthub_dagster.rendering",
    "reporthub_dagster.conditions",
    "pyarrow.compute",
    "pyarrow.csv",
    "pandas",
    "dagster_mysql",
)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """How a worker runs.

    Attributes:
        concurrency: Reports at a time, each in a process of its own.
        max_runs: Runs after which a process is replaced by a fresh one.
        max_megabytes: Peak memory (10^6 bytes) of a process after which it is replaced.
        grace_seconds: How long running reports may go on after SIGTERM; then they wait for another worker.
    """

    concurrency: int
    max_runs: int
    max_megabytes: int
    grace_seconds: float
    log_level: str = "INFO"


def work(broker: str, options: WorkerOptions) -> int:
    """Take runs from the broker until SIGTERM or SIGINT; returns the exit code."""
    preload()
    must_stop = multiprocessing.get_context("fork").Event()
    app = celery_app(broker)
    _register(app, RunProcess(must_stop))
    ends = _on_shutdown(must_stop, options.grace_seconds)
    signals.worker_process_init.connect(_in_new_process)
    signals.worker_shutting_down.connect(ends)
    app.set_current()
    app.set_default()
    worker = app.Worker(
        hostname=f"reporthub-{os.getpid()}@{socket.gethostname()}",
        pool="prefork",
        concurrency=options.concurrency,
        max_tasks_per_child=options.max_runs,
        max_memory_per_child=int(options.max_megabytes * _MEGABYTE_IN_KIB),
        loglevel=options.log_level,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        optimization="fair",
        quiet=True,
    )
    worker.start()
    return int(worker.exitcode or 0)


def preload() -> None:
    """Import what runs need, in the process that others are forked from.

    Raises:
        ConfigurationError: Something is not installed.
    """
    from reporthub_dagster.definitions import wiring  # noqa: PLC0415 - not before the environment is read

    wiring().get_repository_def().get_all_jobs()
    for family in (CONNECTORS, RENDERERS, DESTINATIONS):
        for kind in family.kinds():
            try:
                family.get(kind)
            except ConfigurationError as missing:
                _log.info("%s", missing)
    for name in _USED_BY_REPORTS:
        if find_spec(name.partition(".")[0]) is not None:
            importlib.import_module(name)
    # What is shared with the parent stays shared: the collector would write to it.
    gc.collect()
    gc.freeze()


def _register(app: Celery, runs: RunProcess) -> None:
    @app.task(name=TASK)  # type: ignore[untyped-decorator]
    def _execute_run(run_id: str) -> None:
        try:
            runs.execute(run_id)
        except NotBegunError:
            raise Reject("the worker stops", requeue=True) from None


def _in_new_process(**_: Any) -> None:
    """Leave SIGTERM to the worker: a service manager sends it to every process of the group."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def _on_shutdown(must_stop: Event, grace_seconds: float) -> Callable[..., None]:
    """What happens at SIGTERM: no more runs are taken, running reports may end, but not for ever."""

    def end(*, how: str, **_: Any) -> None:
        seconds = grace_seconds if how == "Warm" else 0.0
        _log.warning("taking no more runs; running reports have %g s to end", seconds)
        _daemon(seconds, must_stop.set)
        _daemon(seconds + LAST_SECONDS, _kill)

    return end


def _kill() -> None:
    """End this process and, since the kernel tells them, its children; their messages stay in the queue."""
    _log.error("a report did not stop; it is killed, and counts as crashed")
    os._exit(1)


def _daemon(seconds: float, action: Callable[[], None]) -> None:
    timer = threading.Timer(seconds, action)
    timer.daemon = True
    timer.start()
