"""What every connector is and does: one data source, opened read-only for one query, streamed to a spool."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pyarrow as pa

from reporthub_dagster.reporting.bound_query import BoundQuery
from reporthub_dagster.reporting.errors import PermanentError
from reporthub_dagster.reporting.records import DataSource, QueryResult
from reporthub_dagster.storage.spool import columns_of, new_spool

Progress = Callable[[int], None]
"""Called after every batch with the number of rows so far."""


@dataclass(frozen=True, slots=True)
class QueryLimits:
    """What a query may use.

    Attributes:
        timeout_seconds: On the server from the start of the statement, and on our side to the last row.
        max_rows: Rows that the spool holds at the most.
        batch_rows: Rows in memory at once.
    """

    timeout_seconds: float
    max_rows: int
    batch_rows: int = 10_000


class TypeMisfit(Exception):  # noqa: N818 - a signal between a result and its spooling, not an error
    """A value does not fit the type that its column was given; the query starts again with a wider one.

    Only for sources whose columns have no binding type (SQLite).
    """

    def __init__(self, column: int, wider: pa.Field) -> None:
        super().__init__(column, wider)
        self.column = column
        self.wider = wider


class ResultStream(ABC):
    """The open result of one query, on its own connection."""

    schema: pa.Schema
    warnings: tuple[str, ...] = ()

    @abstractmethod
    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows, in batches of at most `QueryLimits.batch_rows`, in order, once.

        Raises:
            TransientError: The connection was lost, or the server asks to try again (deadlock, too busy).
            PermanentError: The server refused the query, ran into its time limit, or sent a value that no
                column type can hold exactly.
            TypeMisfit: See there.
        """

    @abstractmethod
    def close(self) -> None:
        """End the connection after the last row; idempotent."""

    @abstractmethod
    def abort(self) -> None:
        """Stop the query on the server and drop the connection without reading the rest; never raises."""


class Connector(ABC):
    """One data source.

    Args:
        source: Its row. The constructor reads no network; it checks the row.

    Raises:
        ConfigurationError: The URL or an option of the row is not usable; names the column.
    """

    kind: ClassVar[str]
    """The word of `report_datasources.db_type`."""
    dialect: ClassVar[str]
    """sqlglot's name of its SQL: how a template is read and a condition is put in."""

    def __init__(self, source: DataSource) -> None:
        self.source = source
        self.warnings: tuple[str, ...] = ()

    @abstractmethod
    def open(
        self, query: BoundQuery, limits: QueryLimits, wider: Mapping[int, pa.Field] | None = None
    ) -> ResultStream:
        """Connect read-only with the time limit set on the server, send the query, learn its columns.

        Args:
            query: One SELECT.
            limits: What it may use.
            wider: Column position → field, for a query that starts again after a `TypeMisfit`.

        Raises:
            ConfigurationError: Unknown host, wrong password, no such database, no right to read.
            TransientError: The server is not there or is too busy.
            PermanentError: The server refuses the query; the message holds its words, redacted.
        """

    @abstractmethod
    def check(self, timeout_seconds: float) -> str:
        """Connect, authenticate and run a trivial query; returns the product and version of the server.

        Raises:
            ConfigurationError, TransientError: As `open`.
        """

    def spool(
        self, query: BoundQuery, target: Path, limits: QueryLimits, on_progress: Progress = lambda _: None
    ) -> QueryResult:
        """Run a query and write its rows to `target`, whole or not at all, in bounded memory.

        On `max_rows`, an error, or an interrupt (a cancelled run) the query is aborted on the server.

        Raises:
            ConfigurationError, TransientError, PermanentError: As `open` and `ResultStream.batches`.
            OSError: `target` cannot be written.
        """
        started = time.monotonic()
        wider: dict[int, pa.Field] = {}
        while True:
            stream = self.open(query, limits, wider)
            try:
                rows, truncated = _write(stream, target, limits, started, on_progress)
            except TypeMisfit as misfit:
                stream.abort()
                wider[misfit.column] = misfit.wider
                continue
            except BaseException:
                stream.abort()
                raise
            if truncated:
                stream.abort()
            else:
                stream.close()
            return QueryResult(
                spool=target,
                columns=columns_of(stream.schema),
                row_count=rows,
                truncated=truncated,
                query_ms=round((time.monotonic() - started) * 1000),
                warnings=(*self.warnings, *stream.warnings),
            )


def _write(
    stream: ResultStream, target: Path, limits: QueryLimits, started: float, on_progress: Progress
) -> tuple[int, bool]:
    """Move batches to the spool; returns the rows written and whether there were more."""
    with new_spool(target, stream.schema) as spool:
        for batch in stream.batches():
            room = limits.max_rows - spool.row_count
            if batch.num_rows:
                spool.write(batch.slice(0, room))
                on_progress(spool.row_count)
            if batch.num_rows > room:
                return spool.row_count, True
            check_deadline(started, limits)
        return spool.row_count, False


def check_deadline(started: float, limits: QueryLimits) -> None:
    """Raise when a query has run longer than its limit.

    Raises:
        PermanentError: It has.
    """
    if time.monotonic() - started > limits.timeout_seconds:
        raise PermanentError(
            f"the query ran longer than timeout_seconds = {limits.timeout_seconds:g}; "
            "make it faster or raise report_configs.timeout_seconds (at most 3600)"
        )
