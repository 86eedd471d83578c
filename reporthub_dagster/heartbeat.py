"""The heartbeat of a run: while it works on an execution, a thread says so in the shared database."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

from reporthub_dagster.db import leases
from reporthub_dagster.db.claims import Claim, LostClaimError
from reporthub_dagster.db.leases import Leases
from reporthub_dagster.reporting.errors import ReportHubError

_AGAIN_SECONDS = 1.0
_JOIN_SECONDS = 5.0


class Heartbeat:
    """Beats for one claim until it is stopped or the claim is lost.

    Args:
        table: The leases; a connection is borrowed for each beat and given back.
        claim: Whose.
    """

    def __init__(self, table: Leases, claim: Claim) -> None:
        self._leases = table
        self._claim = claim
        self._lost = Event()
        self._ended = Event()
        self._last = time.monotonic()
        self._stop_work: Callable[[], None] | None = None
        self._thread = Thread(target=self._beat_on, name=f"heartbeat {claim.execution_id}", daemon=True)

    @property
    def is_lost(self) -> bool:
        """True when the claim was taken over, or when so long without a beat has passed that it may be."""
        return self._lost.is_set() or time.monotonic() - self._last > leases.LEASE_SECONDS

    def check(self) -> None:
        """Make sure that this run may go on; asks no database.

        Raises:
            LostClaimError: It may not.
        """
        if self.is_lost:
            raise LostClaimError(
                f"execution {self._claim.execution_id} has been taken over by another run, or may have been: "
                f"the last heartbeat was {time.monotonic() - self._last:.0f} s ago"
            )

    @contextmanager
    def stopping(self, stop: Callable[[], None]) -> Iterator[None]:
        """Call `stop`, from the heart's own thread, when the claim is lost within the block.

        For what waits where `check` is never reached, such as a query that has no row yet.

        Raises:
            LostClaimError: It is lost already, or was lost within the block, whatever that made of the work.
        """
        self.check()
        self._stop_work = stop
        try:
            yield
        except ReportHubError:
            self.check()
            raise
        finally:
            self._stop_work = None

    def start(self) -> None:
        """Beat now, in the caller's thread, and then from a thread of its own.

        Raises:
            LostClaimError: The claim was lost already.
            TransientError: The database does not answer.
        """
        self._beat()
        self._thread.start()

    def stop(self) -> None:
        """Beat no more."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(_JOIN_SECONDS)

    def _beat_on(self) -> None:
        """Every few seconds; while the database is away, every second until the lease has run out."""
        pause = leases.BEAT_SECONDS
        while not self._ended.wait(pause):
            try:
                self._beat()
            except LostClaimError:
                self._lose()
                return
            except ReportHubError:
                if self.is_lost:
                    self._lose()
                    return
                pause = min(_AGAIN_SECONDS, leases.BEAT_SECONDS)
            else:
                pause = leases.BEAT_SECONDS

    def _lose(self) -> None:
        self._lost.set()
        if self._stop_work is not None:
            self._stop_work()

    def _beat(self) -> None:
        asked = time.monotonic()
        self._leases.beat(self._claim)
        self._last = asked


@contextmanager
def beating(table: Leases, claim: Claim) -> Iterator[Heartbeat]:
    """A heartbeat for the time of a block.

    Raises:
        LostClaimError, TransientError: As `Heartbeat.start`.
    """
    heart = Heartbeat(table, claim)
    heart.start()
    try:
        yield heart
    finally:
        heart.stop()
