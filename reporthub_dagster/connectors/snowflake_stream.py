"""The result of one query of Snowflake, which runs by itself and is asked for by its id."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any
from uuid import UUID

import pyarrow as pa
import snowflake.connector
from snowflake.connector.constants import QueryStatus

from reporthub_dagster.connectors.base import QueryLimits
from reporthub_dagster.connectors.query_clock import QueryClock
from reporthub_dagster.connectors.snowflake_columns import batch_of, schema_of
from reporthub_dagster.connectors.sql import DriverConnector, SQLStream
from reporthub_dagster.reporting.bound_query import BoundQuery
from reporthub_dagster.reporting.errors import TransientError

FAILURES = (snowflake.connector.errors.Error, OSError)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.5


class SnowflakeStream(SQLStream):
    """The result of one query.

    Args:
        connector: Whose query it is.
        limits: What it may use.
        connection: Of its own; closed with it.
    """

    def __init__(self, connector: DriverConnector[Any], limits: QueryLimits, connection: Any) -> None:
        super().__init__(connector, limits)
        self._clock = QueryClock(limits)
        self._connection = connection
        self._cursor = connection.cursor()
        self._id = ""
        self._batches: Iterator[pa.Table] = iter(())
        self._rest: list[pa.RecordBatch] = []
        self._count = 0

    def send(self, query: BoundQuery, wider: Mapping[int, pa.Field]) -> None:
        """See `SQLStream.send`; the driver's waiting hears no signal, so the waiting is ours."""
        values = [parameter(value) for value in query.sequence()]
        self._id = self._cursor.execute_async(query.text("qmark"), values or None)["queryId"]
        pause = _FIRST_PAUSE
        while self._connection.is_still_running(self._status()):
            time.sleep(min(pause, self._clock.left()))
            pause = min(pause * 2, _LONGEST_PAUSE)
        self._cursor.query_result(self._id)
        self.schema = schema_of(self._cursor.description, dict(wider))
        self.warnings = tuple(
            f"column {field.name!r} is text: it holds moments finer than microseconds"
            for field in wider.values()
        )
        # Piece by piece as they are asked for: what the driver fetches ahead has no limit of bytes.
        pieces = self._cursor.get_result_batches() or []
        self._batches = (piece.to_arrow(number_to_decimal=True) for piece in pieces)

    def read(self) -> pa.RecordBatch | None:
        """See `SQLStream.read`."""
        self._clock.left()
        while not self._rest:
            table = next(self._batches, None)
            if table is None:
                self._require_whole()
                return None
            self._count += table.num_rows
            self._rest = table.to_batches(max_chunksize=self._limits.rows_at_once)
        return batch_of(self._rest.pop(0), self.schema)

    def close(self) -> None:
        """See `ResultStream.close`; with the session goes whatever a query may have changed."""
        with suppress(*FAILURES):
            self._connection.close()

    def stop(self) -> None:
        """See `ResultStream.stop`."""
        with suppress(*FAILURES):
            if self._id:
                self._connection.cursor().abort_query(self._id)

    def _require_whole(self) -> None:
        """The driver was seen to end in the middle without a word."""
        told = self._cursor.rowcount
        if told is not None and self._count < told:
            raise TransientError(f"the driver ended the result after {self._count} of {told} rows")

    def _status(self) -> QueryStatus:
        status: QueryStatus = self._connection.get_query_status_throw_if_error(self._id)
        return status


def parameter(value: Any) -> Any:
    """A value as the driver binds it; of moments it is said whether they have a zone."""
    if isinstance(value, datetime):
        return ("TIMESTAMP_TZ" if value.tzinfo else "TIMESTAMP_NTZ", value)
    return str(value) if isinstance(value, UUID) else value
