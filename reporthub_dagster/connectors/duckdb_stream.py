"""The result of one query of DuckDB, streamed as Arrow batches."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, suppress
from typing import Any

import duckdb
import pyarrow as pa

from reporthub_dagster.connectors.base import QueryLimits, refused, timed_out
from reporthub_dagster.connectors.duckdb_columns import batch_of, column_of, texts_of
from reporthub_dagster.connectors.patience import Patience
from reporthub_dagster.connectors.sql import DriverConnector, SQLStream
from reporthub_dagster.reporting.bound_query import BoundQuery
from reporthub_dagster.reporting.errors import PermanentError, ReportHubError, TransientError
from reporthub_dagster.storage.spool import distinct_names

_VECTOR_ROWS = 2_048
"""DuckDB's own measure: what is asked for at once, as of wide rows more would be many megabytes."""
_BATCH_BYTES = 1_000_000
"""Up to this size they are put together: whoever works on columns pays for each batch anew."""


class DuckDBStream(SQLStream):
    """The result of one query.

    Args:
        connector: Whose query it is.
        limits: What it may use.
        connection: Locked; ended with the stream.
        owned: What ends with the stream, after the connection: the scratch folder.
        only_select: Run nothing else, not even to have it refused.
    """

    def __init__(
        self,
        connector: DriverConnector[Any],
        limits: QueryLimits,
        connection: duckdb.DuckDBPyConnection,
        owned: ExitStack,
        *,
        only_select: bool = False,
    ) -> None:
        super().__init__(connector, limits)
        self._connection = connection
        self._owned = owned
        self._only_select = only_select
        self._patience = Patience(connection.interrupt, limits.remaining_seconds)
        self._reader: pa.RecordBatchReader

    def send(self, query: BoundQuery, wider: Mapping[int, pa.Field]) -> None:
        """See `SQLStream.send`."""
        self._patience.wait_for(lambda: self._begin(query, wider))

    def read(self) -> pa.RecordBatch | None:
        """See `SQLStream.read`."""
        batches = self._patience.wait_for(self._some)
        if not batches:
            return None
        one = batches[0] if len(batches) == 1 else pa.concat_batches(batches)
        return batch_of(one, self.schema)

    def close(self) -> None:
        """See `ResultStream.close`."""
        self._patience.end()
        self._connection.close()
        self._owned.close()

    def abort(self) -> None:
        """The query runs in this process, and only while somebody waits for it: closing ends it."""
        self.close()

    def stop(self) -> None:
        """See `ResultStream.stop`."""
        with suppress(duckdb.ConnectionException):  # closed already
            self._connection.interrupt()

    def _begin(self, query: BoundQuery, wider: Mapping[int, pa.Field]) -> None:
        text, values = query.text("qmark"), list(query.sequence())
        statements = self._connection.extract_statements(text)
        if [statement.type for statement in statements] != [duckdb.StatementType.SELECT]:
            if self._only_select:
                raise duckdb.InvalidInputException("the data is read-only: ask with one SELECT")
            self._connection.execute(text, values)  # to be refused in the database's words
            return
        relation = self._connection.sql(text, params=values)
        names, kinds = distinct_names(relation.columns), [str(kind) for kind in relation.types]
        columns = [column_of(*known, wider.get(n)) for n, known in enumerate(zip(names, kinds, strict=True))]
        if any(column.expression for column in columns):
            chosen = [
                (column.expression or "{}").format(f"#{n}") for n, column in enumerate(columns, start=1)
            ]
            relation = relation.project(", ".join(chosen))
        self.schema = pa.schema([column.field for column in columns])
        self.warnings = texts_of(kinds, wider)
        self._reader = relation.to_arrow_reader(min(self._limits.rows_at_once, _VECTOR_ROWS))

    def _some(self) -> list[pa.RecordBatch]:
        """The next batches, as many as make a good one; none after the last."""
        batches: list[pa.RecordBatch] = []
        rows = size = 0
        while size < _BATCH_BYTES and rows + _VECTOR_ROWS <= max(self._limits.rows_at_once, _VECTOR_ROWS):
            batch = next(self._reader, None)
            if batch is None:
                break
            batches.append(batch)
            rows, size = rows + batch.num_rows, size + batch.nbytes
        return batches


def explained(error: Exception, words: str, limits: QueryLimits) -> ReportHubError:
    """What DuckDB says of a query, as one of our errors.

    Args:
        error: DuckDB's own, or what a reader of Arrow batches makes of it.
        words: Its text, redacted, in one line.
        limits: What the query was allowed.
    """
    if isinstance(error, TimeoutError):
        return timed_out(limits)
    if words.startswith("INTERRUPT Error"):
        return TransientError("the query was stopped")
    if words.startswith("Out of Memory Error"):
        return PermanentError(
            "the query needs more memory and scratch space than it may use; sort, join or group fewer rows, "
            "or raise connection_config.memory_mb"
        )
    if words.startswith("IO Error"):
        return TransientError(f"the database could not finish the query now: {words}")
    return refused(words.partition(" LINE ")[0])
