"""The result of one query of Trino, page by page, in a transaction that only reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa
import requests
from trino.client import TrinoQuery, TrinoRequest
from trino.constants import HEADER_STARTED_TRANSACTION
from trino.exceptions import Error, HttpError

from reporthub_dagster.connectors.base import QueryLimits
from reporthub_dagster.connectors.query_clock import QueryClock
from reporthub_dagster.connectors.sql import DriverConnector, SQLStream
from reporthub_dagster.connectors.trino_columns import TrinoColumn, batch_of, column_of
from reporthub_dagster.reporting.bound_query import BoundQuery
from reporthub_dagster.storage.spool import distinct_names

FAILURES = (Error, HttpError, requests.RequestException, OSError, ValueError)
NO_TRANSACTION = "NONE"
_PAGE_SIZE = "4MB"
_INT64_BITS = 63
_NO_NUMBERS = {"inf": "infinity()", "-inf": "-infinity()", "nan": "nan()"}


class TrinoPages(TrinoRequest):
    """Asks for pages of a few MB, of which several copies are in memory while they are read.

    A server gives up to 16 MB unless a request says `targetResultSize`, for which the client has no option.
    """

    def get(self, url: str) -> requests.Response:
        """See `TrinoRequest.get`."""
        return super().get(f"{url}{'&' if '?' in url else '?'}targetResultSize={_PAGE_SIZE}")


class TrinoStream(SQLStream):
    """The result of one query.

    Args:
        connector: Whose query it is.
        limits: What it may use.
        request: For it alone.
        clock: Of the request's session.
        transaction: Whether the query runs in a transaction of its own that only reads.
    """

    def __init__(
        self,
        connector: DriverConnector[Any],
        limits: QueryLimits,
        request: TrinoRequest,
        clock: QueryClock,
        *,
        transaction: bool,
    ) -> None:
        super().__init__(connector, limits)
        self._request = request
        self._clock = clock
        self._transaction = transaction
        self._query: TrinoQuery | None = None
        self._columns: list[TrinoColumn] = []
        self._rows: Sequence[Sequence[Any]] = ()

    def send(self, query: BoundQuery, wider: Mapping[int, pa.Field]) -> None:
        """See `SQLStream.send`."""
        if self._transaction:
            begin_reading(self._request)
        self._query = TrinoQuery(self._request, statement(query), legacy_primitive_types=True)
        self._rows = self._query.execute().rows
        found = self._query.columns or []
        names = distinct_names([column["name"] for column in found])
        self._columns = [
            column_of(name, column["typeSignature"], wider.get(position))
            for position, (name, column) in enumerate(zip(names, found, strict=True))
        ]
        self.schema = pa.schema([column.field for column in self._columns])
        self.warnings = tuple(
            f"column {field.name!r} is text: it holds moments that no column of moments can"
            for field in wider.values()
        )

    def read(self) -> pa.RecordBatch | None:
        """See `SQLStream.read`; a page that the query has not filled yet is an empty batch."""
        if not self._rows:
            if self._query is None or self._query.finished:
                return None
            self._rows = list(self._query.fetch())
        most = self._limits.rows_at_once
        rows, self._rows = self._rows[:most], self._rows[most:]
        return batch_of(self._columns, rows, self.schema)

    def close(self) -> None:
        """See `ResultStream.close`."""
        self._clock.stopping = True
        with suppress(*FAILURES):
            if self._request.transaction_id not in (None, NO_TRANSACTION):
                TrinoQuery(self._request, "ROLLBACK").execute()
                self._request.transaction_id = NO_TRANSACTION

    def stop(self) -> None:
        """See `ResultStream.stop`: whoever knows a query's next page may delete it."""
        self._clock.stopping = True
        with suppress(*FAILURES):
            if self._query is not None and not self._query.finished:
                self._query.cancel()


def begin_reading(request: TrinoRequest) -> None:
    """Begin a transaction that only reads, which the client's own call cannot; may raise its errors."""
    request.transaction_id = begun = NO_TRANSACTION
    response = request.post("START TRANSACTION READ ONLY")
    while True:
        begun = response.headers.get(HEADER_STARTED_TRANSACTION, begun)
        status = request.process(response)
        if status.next_uri is None:
            break
        response = request.get(status.next_uri)
    request.transaction_id = begun


def statement(query: BoundQuery) -> str:
    """A query with its values beside it, as the client's own `execute` sends them."""
    text = query.text("qmark").strip().rstrip(";")
    values = ", ".join(map(literal, query.sequence()))
    return f"EXECUTE IMMEDIATE {literal(text)} USING {values}" if values else text


def literal(value: Any) -> str:
    """A value as Trino writes one of its type."""
    if value is None or isinstance(value, bool):
        return "NULL" if value is None else str(value).upper()
    if isinstance(value, (int, float, Decimal)):
        return _number(value)
    if isinstance(value, datetime):
        moment = value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
        zone = " UTC" if value.tzinfo else ""
        return f"TIMESTAMP '{moment.isoformat(sep=' ', timespec='microseconds')}{zone}'"
    if isinstance(value, (date, time, UUID)):
        return f"{type(value).__name__.upper()} '{value}'"
    return "'" + str(value).replace("'", "''") + "'"


def _number(value: float | Decimal) -> str:
    if isinstance(value, float):
        return _NO_NUMBERS.get(str(value), f"DOUBLE '{value}'")
    if isinstance(value, int) and value.bit_length() <= _INT64_BITS:
        return str(value)
    return f"DECIMAL '{value:{'d' if isinstance(value, int) else 'f'}}'"
