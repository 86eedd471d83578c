"""The result of one query on PostgreSQL, in a read-only transaction of its own with a time limit."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import psycopg
import pyarrow as pa
from psycopg import pq

from reporthub_dagster.connectors.base import QueryLimits
from reporthub_dagster.connectors.postgresql_blocks import rows_of
from reporthub_dagster.connectors.postgresql_columns import column_of, text_column_of
from reporthub_dagster.connectors.postgresql_wire import Rows, Statement, prepare
from reporthub_dagster.connectors.sql import SQLConnector
from reporthub_dagster.connectors.text_stream import BATCH_BYTES, BATCH_SECONDS, TextStream
from reporthub_dagster.reporting.bound_query import BoundQuery
from reporthub_dagster.storage.spool import distinct_names

_ABORT_SECONDS = 5.0
_GRACE_SECONDS = 5.0
"""How much longer than the server's limit our side waits for its word."""
_OUTPUT = {
    "datestyle": "ISO",
    "bytea_output": "hex",
    "extra_float_digits": "1",
}
"""How values are written; what they are read as stays the server's choice."""


class PostgreSQLStream(TextStream):
    """The result of one query, in a read-only transaction of its own."""

    def __init__(
        self, connector: SQLConnector[Any], limits: QueryLimits, connection: psycopg.Connection[Any]
    ) -> None:
        super().__init__(connector, limits)
        self._connection = connection
        self._rows: Rows | None = None
        self._time_zone: str | None = None

    def prepare(self, time_zone: str | None) -> None:
        """Begin the read-only transaction and set what shall hold in it, and only in it.

        Settings of the transaction instead of the session also work behind a pooler.
        """
        self._time_zone = time_zone
        self._connection.read_only = True
        settings = {
            **_OUTPUT,
            "statement_timeout": f"{math.ceil(self._limits.remaining_seconds * 1000)}ms",
            **({"TimeZone": time_zone} if time_zone else {}),
        }
        calls = ", ".join(["set_config(%s, %s, true)"] * len(settings))
        self._connection.execute(
            f"SELECT {calls}".encode(), [part for setting in settings.items() for part in setting]
        )

    def send(self, query: BoundQuery, wider: Mapping[int, pa.Field]) -> None:
        """See `SQLStream.send`."""
        statement = self._prepared(query)
        names = distinct_names([field.name for field in statement.fields])
        if not names:
            return
        self._rows = rows_of(self._connection, self._limits.remaining_seconds + _GRACE_SECONDS)
        columns = [
            (column_of if self._rows.binary and place not in wider else text_column_of)(
                name, field.oid, field.modifier
            )
            for place, (name, field) in enumerate(zip(names, statement.fields, strict=True))
        ]
        self.describe([made.column for made in columns], wider)
        self._rows.run(statement, columns)

    def read(self) -> pa.RecordBatch | None:
        """See `SQLStream.read`."""
        if self._rows is None:
            return None
        cells = self._rows.read(self._limits.rows_at_once, BATCH_BYTES, BATCH_SECONDS)
        return None if cells is None else self.batch(cells)

    def close(self) -> None:
        """See `ResultStream.close`."""
        self._rows = None
        self._connection.close()

    def abort(self) -> None:
        """Cancel the query, then close the socket on what is still coming."""
        try:
            preparing = self._connection.pgconn.transaction_status == pq.TransactionStatus.ACTIVE
            if preparing or (self._rows is not None and self._rows.running):
                self.stop()
        finally:
            self.close()

    def stop(self) -> None:
        """See `ResultStream.stop`."""
        with suppress(psycopg.Error, OSError):
            self._connection.cancel_safe(timeout=_ABORT_SECONDS)

    def _prepared(self, query: BoundQuery) -> Statement:
        try:
            return self._prepared_as(*_numbered(query, by_name=False))
        except psycopg.errors.GroupingError:
            # A number a place lets each place have its own type, but hides that the value in
            # `SELECT f(d, :x) … GROUP BY f(d, :x)` is the same.
            self._begin_again()
            return self._prepared_as(*_numbered(query, by_name=True))

    def _prepared_as(self, sql: str, values: Sequence[Any]) -> Statement:
        """Prepare; again, with a value as text where the query does not tell its type (`:x IS NULL`)."""
        texts: set[int] = set()
        while True:
            try:
                return prepare(self._connection, sql, values, texts)
            except psycopg.errors.IndeterminateDatatype as error:
                number = re.search(r"\$(\d+)", error.diag.message_primary or "")
                if number is None or int(number[1]) in texts:
                    raise
                texts.add(int(number[1]))
            self._begin_again()

    def _begin_again(self) -> None:
        """Leave the transaction that an error has ended for another one."""
        self._connection.rollback()
        self.prepare(self._time_zone)


def _numbered(query: BoundQuery, *, by_name: bool) -> tuple[str, list[Any]]:
    """The SQL with `$1`, `$2`, … and their values: one for each place, or one for each name."""
    texts: list[str] = []
    values: list[Any] = []
    numbers: dict[str, int] = {}
    for part in query.parts:
        if isinstance(part, str):
            texts.append(part)
            continue
        number = numbers.get(part.name) if by_name else None
        if number is None:
            values.append(part.value)
            number = numbers[part.name] = len(values)
        texts.append(f"${number}")
    return "".join(texts), values
