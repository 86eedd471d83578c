"""The result of one query on a SQLite file, its columns typed by what their values turn out to be."""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from datetime import time as time_of_day
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa

from reporthub_dagster.connectors import sqlite_columns
from reporthub_dagster.connectors.base import QueryLimits, TypeMisfit
from reporthub_dagster.connectors.sql import SQLConnector, SQLStream
from reporthub_dagster.connectors.sqlite_columns import Misfit, array_of, declared, inferred
from reporthub_dagster.connectors.text_stream import BATCH_BYTES
from reporthub_dagster.reporting.bound_query import BoundQuery
from reporthub_dagster.storage.spool import distinct_names

_FIRST_ROWS = 1000
_STEPS_BETWEEN_LOOKS = 20_000
"""Instructions of SQLite's machine between two looks at the clock: some tenths of a millisecond."""


class SQLiteStream(SQLStream):
    """The result of one query."""

    def __init__(
        self, connector: SQLConnector[Any], limits: QueryLimits, connection: sqlite3.Connection
    ) -> None:
        super().__init__(connector, limits)
        self._connection = connection
        self._watch = _Watch(limits)
        self._cursor = connection.cursor()
        self._rows_at_once = min(_FIRST_ROWS, limits.rows_at_once)
        self._first: Sequence[Sequence[Any]] = ()
        self._fields: list[pa.Field] = []
        self._settled: list[bool] = []

    def send(self, query: BoundQuery, wider: Mapping[int, pa.Field]) -> None:
        """See `SQLStream.send`."""
        self._connection.set_progress_handler(self._watch.handler(), _STEPS_BETWEEN_LOOKS)
        with self._watch.passing_on():
            declarations = self._declarations(query)
            self._connection.execute("PRAGMA query_only = ON")
            self._cursor.execute(query.text("qmark"), [_sendable(value) for value in query.sequence()])
            names = distinct_names([column[0] for column in self._cursor.description or ()])
            self._first = self._fetch()
        columns = self._first or [()] * len(names)
        for position, (name, values) in enumerate(zip(names, columns, strict=True)):
            promised = declared(name, declarations.get(position, ""))
            self._settle(wider.get(position) or promised, name, values)
        self.schema = pa.schema(self._fields)
        self.warnings = tuple(
            f"column {field.name!r} holds values of several types and is read as {field.type}"
            for field in wider.values()
        )

    def read(self) -> pa.RecordBatch | None:
        """See `SQLStream.read`."""
        columns, self._first = self._first, ()
        if not columns:
            with self._watch.passing_on():
                columns = self._fetch()
        if not columns:
            return None
        arrays, misfits = [], {}
        for position, (field, values) in enumerate(zip(self._fields, columns, strict=True)):
            try:
                self._require_settled(position, values)
                arrays.append(array_of(field, values))
            except Misfit:
                misfits[position] = self._next(position, values)
        if misfits:
            raise TypeMisfit(misfits)
        batch = pa.record_batch(arrays, schema=self.schema)
        self._pace(batch)
        return batch

    def close(self) -> None:
        """See `ResultStream.close`; the query runs in this process, and only while somebody fetches."""
        self._cursor.close()
        self._connection.close()

    def _declarations(self, query: BoundQuery) -> dict[int, str]:
        """What the columns of the query were declared as, from a view over it that nobody reads."""
        view = f"reporthub_{secrets.token_hex(8)}"
        try:
            self._connection.execute("PRAGMA temp_store = MEMORY")
            self._connection.execute(f"CREATE TEMP VIEW {view} AS {query.text('null')}")
            rows = self._connection.execute(f"PRAGMA temp.table_info({view})").fetchall()
        except (sqlite3.Error, sqlite3.Warning):
            return {}
        return {int(row[0]): str(row[2] or "") for row in rows}

    def _fetch(self) -> Sequence[Sequence[Any]]:
        return list(zip(*self._cursor.fetchmany(self._rows_at_once), strict=True))

    def _pace(self, batch: pa.RecordBatch) -> None:
        """Fetch as many rows as fit into a batch's bytes, growing step by step."""
        width = max(batch.nbytes // batch.num_rows, 1)
        growing = min(self._rows_at_once * 4, BATCH_BYTES // width, self._limits.rows_at_once)
        self._rows_at_once = max(growing, 1)

    def _settle(self, field: pa.Field | None, name: str, values: Sequence[Any]) -> None:
        """Choose a column's type for this reading, by the rows that have been fetched to look at."""
        if field is None:
            field = inferred(name, values)
        self._settled.append(field is not None)
        field = field or pa.field(name, pa.utf8())
        try:
            array_of(field, values)
        except Misfit:
            field = sqlite_columns.wider(field, values)
        self._fields.append(field)

    def _require_settled(self, position: int, values: Sequence[Any]) -> None:
        if not self._settled[position] and not all(value is None or type(value) is str for value in values):
            raise Misfit

    def _next(self, position: int, values: Sequence[Any]) -> pa.Field:
        field = self._fields[position]
        if self._settled[position]:
            return sqlite_columns.wider(field, values)
        return inferred(field.name, values) or field


class _Watch:
    """SQLite's progress handler: stops a query at its deadline, and lets an interrupt through.

    The handler is where a signal reaches Python while SQLite computes; sqlite3 swallows what is raised there,
    so it is kept and raised again.
    """

    def __init__(self, limits: QueryLimits) -> None:
        self._end = time.monotonic() + limits.remaining_seconds
        self._expired = False
        self._raised: BaseException | None = None

    def handler(self) -> Callable[[], bool]:
        """What SQLite calls: true stops it.

        A signal arrives on the first instruction of whatever Python code runs next. A function would meet it
        before any `try` of its own; a generator goes on inside one.
        """
        looks = self._looks()
        next(looks)
        return looks.__next__

    def _looks(self) -> Iterator[bool]:
        stop = False
        while True:
            try:
                yield stop
                stop = self._expired = time.monotonic() > self._end
            except GeneratorExit:
                return
            except BaseException as interrupt:  # noqa: BLE001 - raised again in `passing_on`
                self._raised, stop = interrupt, True

    @contextmanager
    def passing_on(self) -> Iterator[None]:
        """Raise what stopped SQLite, unless it was the deadline."""
        try:
            yield
        except sqlite3.OperationalError as error:
            stopped = getattr(error, "sqlite_errorname", "") == "SQLITE_INTERRUPT" and not self._expired
            if not stopped:
                raise
        else:
            return
        raise self._raised or KeyboardInterrupt from None


def _sendable(value: Any) -> Any:
    """A bind as SQLite stores such values: it has no decimals, dates, times or booleans."""
    if isinstance(value, datetime):
        naive = value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
        return naive.isoformat(sep=" ")
    if isinstance(value, (date, time_of_day)):
        return value.isoformat()
    if isinstance(value, Decimal):
        return _number(value)
    return str(value) if isinstance(value, UUID) else value


def _number(value: Decimal) -> int | float | str:
    """The number that SQLite compares exactly; its text where neither of its number types is exact."""
    if value == value.to_integral_value() and abs(value) < 2**63:
        return int(value)
    return float(value) if Decimal(repr(float(value))) == value else str(value)
