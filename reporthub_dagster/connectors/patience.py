"""Waiting for a driver that works in C, so that a signal or the deadline ends a query at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor, wait
from contextlib import suppress
from threading import Thread
from typing import Any, TypeVar

T = TypeVar("T")
_BETWEEN_INTERRUPTS = 0.1


class QueryStoppedError(Exception):
    """Somebody stopped the query from another thread than the one that waits for it."""


def in_time(call: Callable[[], T], seconds: float, late: Callable[[T], object]) -> T:
    """What a call gives that knows no time limit of its own.

    Args:
        call: Runs on a thread that is left behind when it takes too long.
        seconds: That it has.
        late: Puts away what comes afterwards.

    Raises:
        TimeoutError: Nothing came in time.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            result = call()
        except BaseException as error:  # noqa: BLE001 - whoever waits is told
            with suppress(InvalidStateError):
                future.set_exception(error)
            return
        try:
            future.set_result(result)
        except InvalidStateError:
            late(result)

    Thread(target=run, daemon=True).start()
    try:
        wait([future], seconds)
    finally:
        too_late = future.cancel()
    if too_late:
        raise TimeoutError(f"no answer within {seconds:g} s")
    return future.result()


class Patience:
    """Waits for calls that run on a thread of their own, one after the other.

    Args:
        interrupt: Makes the driver stop what it does; never raises.
        seconds: Until the deadline.
        grace: Seconds that a stopped call has to end; without an end it is left behind. None: for ever.
    """

    def __init__(self, interrupt: Callable[[], None], seconds: float, grace: float | None = None) -> None:
        self._interrupt = interrupt
        self._end = time.monotonic() + seconds
        self._grace = grace
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="query")
        self._running: Future[Any] | None = None
        self._left_behind = False
        self.expired = False

    def wait_for(self, call: Callable[[], T]) -> T:
        """What a call gives.

        Raises:
            TimeoutError: The deadline has come.
        """
        future = self._thread.submit(call)
        self._running = future
        try:
            wait([future], max(self._end - time.monotonic(), 0))
        except BaseException:
            self._stop(future)
            raise
        if not future.done():
            self.expired = True
            self._stop(future)
        if self.expired:
            raise TimeoutError
        return future.result()

    def stop(self) -> None:
        """End the call that runs, from another thread than the one that waits for it."""
        if self._running is not None:
            self._stop(self._running)

    def finish(self, call: Callable[[], object]) -> None:
        """Run the last call and let the thread go, deadline or not; what the call raises is passed over."""
        if not self._left_behind:
            future = self._thread.submit(call)
            self._left_behind = not wait([future], self._grace).done
        self.end()

    def end(self) -> None:
        """Let the thread go."""
        self._thread.shutdown(wait=not self._left_behind)

    def _stop(self, future: Future[Any]) -> None:
        """Again and again: an interrupt between two steps of a driver is forgotten."""
        until = None if self._grace is None else time.monotonic() + self._grace
        while not future.done():
            if until is not None and time.monotonic() > until:
                self._left_behind = True
                return
            self._interrupt()
            wait([future], _BETWEEN_INTERRUPTS)
