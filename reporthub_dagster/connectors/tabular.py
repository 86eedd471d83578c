"""The base of sources without SQL of their own: what they hold becomes a table, `data`, that DuckDB asks.

Everything is fetched into the execution's folder first, within limits of time and size; then the query runs
in an engine that reaches nothing but that.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import duckdb
import pyarrow as pa

from reporthub_dagster.connectors.base import Progress, QueryLimits, timed_out
from reporthub_dagster.connectors.duckdb_engine import Engine, lock, scratch_in
from reporthub_dagster.connectors.duckdb_stream import DuckDBStream, explained
from reporthub_dagster.connectors.source_url import TABLE
from reporthub_dagster.connectors.sql import DriverConnector, OptionsT
from reporthub_dagster.reporting.bound_query import BoundQuery
from reporthub_dagster.reporting.errors import ConfigurationError, PermanentError, ReportHubError
from reporthub_dagster.reporting.records import QueryResult

TABLE_NAME = "data"


@dataclass(frozen=True, slots=True)
class Table:
    """What was fetched, as an engine takes it.

    Attributes:
        attach: Makes it a table of this name, before the engine is locked.
        readable: Files that queries of it read.
    """

    attach: Callable[[duckdb.DuckDBPyConnection, str], None]
    readable: tuple[Path, ...] = ()


class Budget:
    """What one query may fetch, in bytes and seconds.

    Args:
        most_bytes: Fetched, or made of what was fetched.
        limits: Of the query.
    """

    def __init__(self, most_bytes: int, limits: QueryLimits) -> None:
        self._left = self._most = most_bytes
        self._limits = limits
        self._end = time.monotonic() + limits.remaining_seconds

    @property
    def seconds(self) -> float:
        """What is left of the time."""
        return max(self._end - time.monotonic(), 0.001)

    def spend(self, size: int) -> None:
        """Count bytes.

        Raises:
            PermanentError: They are too many, or the time is over.
        """
        self._left -= size
        if self._left < 0:
            raise PermanentError(
                f"the source holds more than {self._most / 1_000_000:g} MB; narrow what is fetched, or raise "
                "REPORTHUB_FETCH_LIMIT_MB"
            )
        if time.monotonic() > self._end:
            raise timed_out(self._limits)


class TabularConnector(DriverConnector[OptionsT]):
    """A source whose rows are fetched, and then asked as the table `data`."""

    _table: Table

    dialect = "duckdb"
    default_query = f"SELECT * FROM {TABLE_NAME}"
    driver_errors: ClassVar = (duckdb.Error, OSError, pa.ArrowException)

    @abstractmethod
    def gather(self, variables: Mapping[str, Any], scratch: Path, limits: QueryLimits) -> Table:
        """Fetch what the row names; may raise DuckDB's errors and OSError.

        Args:
            variables: Of the report, for an address that holds some.
            scratch: An empty folder that is there until the query is over.
            limits: What the query may use; fetching spends of it.

        Raises:
            ConfigurationError, TransientError, PermanentError: As `Connector.open`.
        """

    def spool(
        self, query: BoundQuery, target: Path, limits: QueryLimits, on_progress: Progress = lambda _: None
    ) -> QueryResult:
        """See `Connector.spool`; what was fetched is read again where a type must be wider."""
        begun = time.monotonic()
        with scratch_in(target.parent) as scratch:
            self._table = self._gathered(query, scratch, limits)
            spent = limits.spent_seconds + time.monotonic() - begun
            left = replace(limits, spent_seconds=spent, scratch=scratch)
            result = super().spool(query, target, left, on_progress)
        return replace(result, query_ms=round((time.monotonic() - begun) * 1000))

    def _gathered(self, query: BoundQuery, scratch: Path, limits: QueryLimits) -> Table:
        try:
            with self.translated(limits):
                return self.gather(query.variables, scratch, limits)
        except ConfigurationError as error:
            raise error.located(row=self.source.id if error.table == TABLE else None) from None

    def connect(self, limits: QueryLimits) -> DuckDBStream:
        """See `DriverConnector.connect`."""
        with ExitStack() as owned:
            scratch = limits.scratch or owned.enter_context(scratch_in(None))
            connection = Engine(scratch, self.settings.memory_mb).start()
            owned.callback(connection.close)
            self._table.attach(connection, TABLE_NAME)
            lock(connection, self._table.readable)
            return DuckDBStream(self, limits, connection, owned.pop_all(), only_select=True)

    def explain(self, error: Exception, limits: QueryLimits) -> ReportHubError:
        """See `DriverConnector.explain`."""
        return explained(error, self.plain(error), limits)
