"""The result of one query of SQL Server, as batches of its driver, in a transaction that is rolled back."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

import mssql_python
import pyarrow as pa

from reporthub_dagster.connectors.base import QueryLimits
from reporthub_dagster.connectors.patience import Patience, QueryStoppedError
from reporthub_dagster.connectors.sql import DriverConnector, SQLStream
from reporthub_dagster.connectors.sqlserver_columns import (
    Described,
    SQLServerColumn,
    arrays_of,
    batch_of,
    column_of,
    notes_on,
)
from reporthub_dagster.connectors.sqlserver_errors import raise_hidden
from reporthub_dagster.connectors.sqlserver_values import Call, call_of
from reporthub_dagster.reporting.bound_query import BoundQuery
from reporthub_dagster.reporting.errors import ConfigurationError
from reporthub_dagster.storage.spool import distinct_names

T = TypeVar("T")
_BATCH_BYTES = 16 * 1024 * 1024
_FIRST_ROWS = 500
_GRACE_SECONDS = 5.0
_FINEST = 7
"""Digits of a second that the driver cuts to six."""
_DESCRIBE = (
    "SELECT name, "
    "COALESCE(system_type_name, QUOTENAME(user_type_schema) + N'.' + QUOTENAME(user_type_name)) AS type, "
    "collation_name, error_message FROM sys.dm_exec_describe_first_result_set({}, {}, 0) "
    "WHERE is_hidden = 0 ORDER BY column_ordinal"
)


class SQLServerStream(SQLStream):
    """The result of one query.

    Args:
        connector: Whose query it is.
        limits: What it may use.
        connection: Its own, in a transaction.
    """

    def __init__(
        self, connector: DriverConnector[Any], limits: QueryLimits, connection: mssql_python.Connection
    ) -> None:
        super().__init__(connector, limits)
        self._connection = connection
        # The driver's own limit is a second line, in whole seconds.
        connection.timeout = math.ceil(limits.remaining_seconds) + 1
        self._cursor = connection.cursor()
        self._patience = Patience(self._cancel, limits.remaining_seconds, _GRACE_SECONDS)
        self._stopped = False
        self._columns: list[SQLServerColumn] = []
        self._given = pa.schema([])
        self._by_rows = False
        self._rows = min(_FIRST_ROWS, limits.rows_at_once)

    def prepare(self, date_format: str | None) -> None:
        """Limit what the session waits for.

        Args:
            date_format: How it reads dates in texts; None leaves the login's.
        """
        wait = min(math.ceil(self._limits.remaining_seconds * 1000), 2**31 - 1)
        settings = f"SET LOCK_TIMEOUT {wait}" + (f"; SET DATEFORMAT {date_format}" if date_format else "")
        self._wait(lambda: self._cursor.execute(settings))

    def send(self, query: BoundQuery, wider: Mapping[int, pa.Field]) -> None:
        """See `SQLStream.send`."""
        self._wait(lambda: self._begin(call_of(query), wider))

    def read(self) -> pa.RecordBatch | None:
        """See `SQLStream.read`."""
        arrays = self._wait(self._fetch)
        if not arrays or not len(arrays[0]):
            return None
        size = sum(array.nbytes for array in arrays) // len(arrays[0]) + 1
        self._rows = max(1, min(self._limits.rows_at_once, _BATCH_BYTES // size))
        return batch_of(self._columns, arrays, self.schema)

    def close(self) -> None:
        """See `ResultStream.close`; with the connection goes its transaction, rolled back."""
        self._patience.finish(self._connection.close)

    def stop(self) -> None:
        """See `ResultStream.stop`."""
        self._stopped = True
        self._patience.stop()

    def _begin(self, call: Call, wider: Mapping[int, pa.Field]) -> None:
        described = self._described(call)
        for column in described:
            if column.variant:
                raise ConfigurationError(
                    f"column {column.name!r} is a sql_variant, whose values have no one type",
                    table="report_configs",
                    column="report_query",
                    valid=f"write CAST([{column.name}] AS nvarchar(4000)) AS [{column.name}]",
                )
        asked = ""
        if any(column.fine for column in described):
            listed = ", ".join(column.asked(number) for number, column in enumerate(described, start=1))
            asked = f" WITH RESULT SETS (({listed}))"
        self._cursor.execute(f"EXEC sp_executesql {call.places}{asked}", call.values)
        known = self._cursor.description or []
        if not known:
            return
        # Asking for no rows gives their types.
        self._given = self._cursor.arrow_batch(0).schema
        # Of unlimited length, which the driver says as 0: its batches may never end over such a value.
        self._by_rows = any(
            pa.types.is_large_binary(kind) and not known[n][3] for n, kind in enumerate(self._given.types)
        )
        names = distinct_names([one.name for one in described] or [one[0] for one in known])
        self._columns = [
            column_of(name, kind, described[n] if described else None, wider.get(n))
            for n, (name, kind) in enumerate(zip(names, self._given.types, strict=True))
        ]
        self.schema = pa.schema([column.field for column in self._columns])
        cut = [names[n] for n, one in enumerate(known) if _is_cut(self._given.field(n).type, one[5])]
        self.warnings = notes_on(cut, wider)

    def _described(self, call: Call) -> list[Described]:
        """The columns as the server foresees them; none where it cannot."""
        places = ["?", "?" if call.declared else "NULL"]
        given = [call.text, *([call.declared] if call.declared else [])]
        with self._connection.cursor() as cursor:
            cursor.execute(_DESCRIBE.format(*places), given)
            found = cursor.fetchall()
        if any(row[1] is None or row[3] is not None for row in found):
            return []
        return [Described(row[0] or "", row[1], row[2]) for row in found]

    def _fetch(self) -> list[pa.Array]:
        if not self._by_rows:
            return list(self._cursor.arrow_batch(self._rows).columns)
        rows = self._cursor.fetchmany(self._rows)
        return arrays_of([tuple(row) for row in rows], self._given) if rows else []

    def _wait(self, call: Callable[[], T]) -> T:
        try:
            result = self._patience.wait_for(call)
            raise_hidden(self._cursor.messages)
        finally:
            if self._stopped:
                raise QueryStoppedError
        return result

    def _cancel(self) -> None:
        """Ask the server to stop; the one call of the driver that may come from another thread.

        It has no public name (github.com/microsoft/mssql-python/issues/424), but readers of Arrow end by it.
        """
        statement: Any = self._cursor.hstmt
        if statement is not None:
            with suppress(mssql_python.Error, RuntimeError):
                statement._cancel()  # noqa: SLF001 - see above


def _is_cut(kind: pa.DataType, scale: int | None) -> bool:
    return pa.types.is_timestamp(kind) and scale == _FINEST
