"""The result of one query of Oracle, in a transaction that only reads."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

import oracledb
import pyarrow as pa

from reporthub_dagster.connectors.base import QueryLimits, refused
from reporthub_dagster.connectors.oracle_columns import OracleColumn, arrays_of, batch_of, column_of, wrapped
from reporthub_dagster.connectors.patience import QueryStoppedError
from reporthub_dagster.connectors.sql import DriverConnector, SQLStream
from reporthub_dagster.reporting.bound_query import BoundQuery
from reporthub_dagster.storage.spool import distinct_names

T = TypeVar("T")
_ABORT_MS = 5_000
_LONG_ROWS = 100
"""Rows of a batch in which one value may be large."""
_QUERY = re.compile(r"(?:\s|--[^\n]*\n|/\*.*?\*/|\()*(?:SELECT|WITH)\b", re.IGNORECASE | re.DOTALL)


class OracleStream(SQLStream):
    """The result of one query.

    Args:
        connector: Whose query it is.
        limits: What it may use.
        connection: Its own.
    """

    def __init__(
        self, connector: DriverConnector[Any], limits: QueryLimits, connection: oracledb.Connection
    ) -> None:
        super().__init__(connector, limits)
        self._connection = connection
        self._end = time.monotonic() + limits.remaining_seconds
        self._stopped = False
        self._columns: list[OracleColumn] = []
        self._rows = limits.rows_at_once
        self._read: Callable[[], list[pa.Array]] = list

    def prepare(self, settings: Sequence[str]) -> None:
        """Tell the session what the row says of it, and begin the transaction that only reads."""
        with self._connection.cursor() as cursor:
            for statement in (*settings, "SET TRANSACTION READ ONLY"):
                self._ask(partial(cursor.execute, statement))

    def send(self, query: BoundQuery, wider: Mapping[int, pa.Field]) -> None:
        """See `SQLStream.send`."""
        sql, binds = _named(query, self._connection)
        if not _QUERY.match(sql):
            # To parse a statement that defines something is to run it.
            raise refused("Oracle is asked one SELECT and nothing else")
        with self._connection.cursor() as cursor:
            self._ask(lambda: cursor.parse(sql))
            described = cursor.description or []
        given = [info.name for info in described]
        names = distinct_names(given)
        self._columns = [
            column_of(info, name, wider.get(place))
            for place, (info, name) in enumerate(zip(described, names, strict=True))
        ]
        self.schema = pa.schema([column.field for column in self._columns])
        self.warnings = tuple(
            f"column {field.name!r} is text: it holds moments finer than microseconds, or before the year 1"
            for field in wider.values()
        )
        if any(column.long for column in self._columns):
            self._rows = min(self._rows, _LONG_ROWS)
        self._begin(wrapped(sql, self._columns, given), binds)

    def read(self) -> pa.RecordBatch | None:
        """See `SQLStream.read`."""
        arrays = self._ask(self._read)
        if not arrays or not len(arrays[0]):
            return None
        return batch_of(self._columns, arrays, self.schema)

    def close(self) -> None:
        """See `ResultStream.close`."""
        with suppress(oracledb.Error, OSError):
            self._connection.call_timeout = _ABORT_MS
            self._connection.close()

    def abort(self) -> None:
        """See `ResultStream.abort`; the server works on nothing while it is asked nothing."""
        self.close()

    def stop(self) -> None:
        """See `ResultStream.stop`."""
        self._stopped = True
        with suppress(oracledb.Error, OSError):
            self._connection.cancel()

    def _begin(self, sql: str, binds: dict[str, Any]) -> None:
        kinds = [column.frame for column in self._columns]
        if all(kind is not None for kind in kinds):
            asked = pa.schema([field.with_type(kind) for field, kind in zip(self.schema, kinds, strict=True)])
            frames = self._connection.fetch_df_batches(
                sql, binds, size=self._rows, requested_schema=asked.remove_metadata()
            )
            self._read = lambda: _columns_of(next(frames, None))
            return
        cursor = self._connection.cursor()
        cursor.arraysize = self._rows
        cursor.prefetchrows = self._rows
        cursor.outputtypehandler = _digits
        self._ask(lambda: cursor.execute(sql, binds, fetch_lobs=False))
        self._read = lambda: self._fetched(cursor)

    def _fetched(self, cursor: oracledb.Cursor) -> list[pa.Array]:
        rows = cursor.fetchmany(self._rows)
        return arrays_of(rows, self._columns) if rows else []

    def _ask(self, call: Callable[[], T]) -> T:
        """What a call gives that may wait for the server, for as long as there is time.

        The driver asks the server to stop what takes longer, and cuts the connection if that is in vain.
        """
        self._connection.call_timeout = max(round((self._end - time.monotonic()) * 1000), 1)
        try:
            return call()
        finally:
            if self._stopped:
                raise QueryStoppedError


def _columns_of(frame: Any) -> list[pa.Array]:
    return [] if frame is None else [column.combine_chunks() for column in pa.table(frame).columns]


def _digits(cursor: oracledb.Cursor, info: oracledb.FetchInfo) -> Any:
    """Numbers as their digits: a float has 15 of 38."""
    if info.type_code is oracledb.DB_TYPE_NUMBER:
        return cursor.var(str, arraysize=cursor.arraysize)
    return None


def _named(query: BoundQuery, connection: oracledb.Connection) -> tuple[str, dict[str, Any]]:
    """The SQL with `:b1`, `:b2`, … and their values: a name of the report may be a word of Oracle's."""
    numbers = {name: f"b{number}" for number, name in enumerate(query.values, start=1)}
    text = "".join(part if isinstance(part, str) else f":{numbers[part.name]}" for part in query.parts)
    return text, {numbers[name]: _bound(value, connection) for name, value in query.values.items()}


def _bound(value: Any, connection: oracledb.Connection) -> Any:
    """A value as the driver takes it.

    Instants go with their zone, which the driver drops by itself, and whole seconds as DATE: as TIMESTAMP
    they would keep the server from using the index of a DATE column.
    """
    if isinstance(value, bool):
        return int(value)
    if not isinstance(value, datetime):
        return value
    if value.tzinfo is not None:
        return _variable(
            connection, oracledb.DB_TYPE_TIMESTAMP_TZ, value.astimezone(UTC).replace(tzinfo=None)
        )
    kind = oracledb.DB_TYPE_TIMESTAMP if value.microsecond else oracledb.DB_TYPE_DATE
    return _variable(connection, kind, value)


def _variable(connection: oracledb.Connection, kind: oracledb.DbType, value: datetime) -> Any:
    variable = connection.cursor().var(kind)
    variable.setvalue(0, value)
    return variable
