"""One clock for all requests of a query over HTTP."""

from __future__ import annotations

from time import monotonic

from reporthub_dagster.connectors.base import QueryLimits, timed_out

_STOP_SECONDS = 3.0


class QueryClock:
    """What is left of a query's time, and of the little that stopping it takes afterwards.

    Args:
        limits: Of the query.
    """

    def __init__(self, limits: QueryLimits) -> None:
        self._limits = limits
        self._end = monotonic() + limits.remaining_seconds
        self.stopping = False
        """True once the query is to be stopped, which has seconds of its own."""

    def left(self) -> float:
        """Seconds for the next request.

        Raises:
            PermanentError: There are none.
        """
        if self.stopping:
            return _STOP_SECONDS
        left = self._end - monotonic()
        if left <= 0:
            raise timed_out(self._limits)
        return left
