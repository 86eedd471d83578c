"""What every connector is and does: one data source, opened read-only for one query, streamed to a spool."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pyarrow as pa

from reporthub_dagster.connectors.endpoints import Endpoint, resolved
from reporthub_dagster.connectors.source_settings import SourceSettings
from reporthub_dagster.reporting.bound_query import BoundQuery
from reporthub_dagster.reporting.errors import ConfigurationError, PermanentError
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
        batch_rows: Rows in memory at once; so few that their columns are found in a core's cache.
        spent_seconds: How much of the time an earlier reading of the same query has used up.
        scratch: Folder for what does not fit into memory and is gone afterwards; None: the system's own.
        label: Whose query it is, for the server's list of queries: the execution's id; empty for none.
    """

    timeout_seconds: float
    max_rows: int
    batch_rows: int = 5_000
    spent_seconds: float = 0.0
    scratch: Path | None = None
    label: str = ""

    @property
    def remaining_seconds(self) -> float:
        """What is left of the time, at least a millisecond: zero means "no limit" to servers."""
        return max(self.timeout_seconds - self.spent_seconds, 0.001)

    @property
    def rows_at_once(self) -> int:
        """Rows of one batch: never more than it takes to see that there are more than `max_rows`."""
        return min(self.batch_rows, self.max_rows + 1)


class TypeMisfit(Exception):  # noqa: N818 - a signal between a result and its spooling, not an error
    """Values do not fit the types that their columns were given; the query starts again with wider ones.

    Usual where columns have no binding type (SQLite); elsewhere for the rare value that its declared type
    cannot hold, such as `NaN` in a `numeric(10, 2)`. The new reading replaces the old one entirely, so a
    spool never mixes two states of the source.

    Args:
        wider: Column position → field. Each must hold strictly more than the one before, ending with text.
    """

    def __init__(self, wider: Mapping[int, pa.Field]) -> None:
        super().__init__(wider)
        self.wider = dict(wider)


class ResultStream(ABC):
    """The open result of one query, on its own connection."""

    schema: pa.Schema
    warnings: tuple[str, ...] = ()

    @abstractmethod
    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows, in batches of at most `QueryLimits.batch_rows`, in order, once.

        Raises:
            TransientError: The connection was lost, or the server asks to try again (deadlock, too busy).
            ConfigurationError: The server refused the query on the way (a division by zero, say).
            PermanentError: The server ran into the time limit, or sent a value that no column type can hold
                exactly.
            TypeMisfit: See there; raised before the batch that does not fit is given out.
        """

    @abstractmethod
    def close(self) -> None:
        """End the connection, usually after the last row; idempotent."""

    def abort(self) -> None:
        """Stop the query on the server and drop the connection without reading the rest; never raises."""
        self.stop()
        self.close()

    def stop(self) -> None:  # noqa: B027 - a kind whose queries run in this process has nothing to stop
        """Stop the query on its server while another thread waits for rows, which then fails.

        Never raises, also when the query is over.
        """


class Connector(ABC):
    """One data source.

    Args:
        source: Its row. The constructor reads no network; it checks the row.
        settings: What the environment says; by default, what holds where nothing is set.

    Raises:
        ConfigurationError: The URL or an option of the row is not usable; names the column.
    """

    kind: ClassVar[str]
    """The word of `report_datasources.db_type`."""
    dialect: ClassVar[str]
    """sqlglot's name of its SQL, or `documents`: how a template is read and a condition is put in."""

    default_query: ClassVar[str] = ""
    """What an empty `report_query` means; empty where it means nothing."""
    answer_ms: float | None
    """How long the trivial query of the last `check` took; None before it, and where none is asked."""

    def __init__(self, source: DataSource, settings: SourceSettings | None = None) -> None:
        self.source = source
        self.settings = settings or SourceSettings()
        self.warnings: tuple[str, ...] = ()
        self.answer_ms: float | None = None

    def endpoints(self) -> tuple[Endpoint, ...]:
        """The machines that it connects to, in its order; none for what is on this machine.

        Raises:
            ConfigurationError, TransientError: They cannot be known.
        """
        return ()

    def resolve(self) -> str:
        """Find the addresses of its machines, and what the egress policy says to them; nothing connects.

        Raises:
            ConfigurationError: There is no such host, or it may not be reached.
            TransientError: Nobody can say now where it is.
        """
        return resolved(self.endpoints(), self.settings.egress, self.source.id)

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
            ConfigurationError: Unknown host, wrong password, no such database, no right to read; or the
                server refuses the query: the message holds its words, redacted.
            TransientError: The server is not there or is too busy.
        """

    @abstractmethod
    def check(self, timeout_seconds: float) -> str:
        """Connect, authenticate and run a trivial query; returns the product and version of the server.

        Raises:
            ConfigurationError, TransientError: As `open`.
        """

    def writes(self, timeout_seconds: float) -> str:
        """What the account may write, in the server's words; empty where it can only read or cannot say.

        A report never writes; but a role that cannot is the real boundary of a data source.

        Raises:
            ConfigurationError, TransientError: As `open`.
        """
        del timeout_seconds
        return ""

    def estimate(self, query: BoundQuery, timeout_seconds: float) -> int | None:
        """Bytes that a query would read, by the source's own word and without running it.

        None where the source cannot say, or charges nothing for it.

        Raises:
            ConfigurationError, TransientError: As `open`.
        """
        del query, timeout_seconds
        return None

    def stop(self) -> None:  # noqa: B027 - as above
        """Stop the query that runs, from another thread than the one that waits for it; never raises."""

    def spool(
        self, query: BoundQuery, target: Path, limits: QueryLimits, on_progress: Progress = lambda _: None
    ) -> QueryResult:
        """Run a query and write its rows to `target`, whole or not at all, in bounded memory.

        On `max_rows`, an error, or an interrupt (a cancelled run) the query is aborted on the server.

        Raises:
            ConfigurationError, TransientError, PermanentError: As `open` and `ResultStream.batches`.
            OSError: `target` cannot be written.
        """
        begun = time.monotonic()
        started = begun - limits.spent_seconds
        wider: dict[int, pa.Field] = {}
        while True:
            check_deadline(started, limits)
            spent = time.monotonic() - started
            left = replace(limits, spent_seconds=spent, scratch=limits.scratch or target.parent)
            stream = self.open(query, left, wider)
            try:
                rows, truncated = _write(stream, target, limits, started, on_progress)
            except TypeMisfit as misfit:
                stream.abort()
                wider.update(misfit.wider)
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
                query_ms=round((time.monotonic() - begun) * 1000),
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
        raise timed_out(limits)


def refused(words: str) -> ConfigurationError:
    """The error for a query that the server will not run; the caller knows which report it is of.

    Args:
        words: The server's own, redacted, in one line.
    """
    return ConfigurationError(
        f"the database refused the query: {words}", table="report_configs", column="report_query"
    )


def timed_out(limits: QueryLimits) -> PermanentError:
    """The error for a query that used up its time, on whichever side that was noticed."""
    return PermanentError(
        f"the query ran longer than timeout_seconds = {limits.timeout_seconds:g}; "
        "make it faster or raise report_configs.timeout_seconds (at most 3600)"
    )
