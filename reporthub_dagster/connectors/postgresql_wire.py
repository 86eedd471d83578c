"""A PostgreSQL statement prepared and described, and the ways in which its rows are read.

Not by a server-side cursor: the statement runs as any other, with parallel plans (which PostgreSQL refuses to
cursors) and one `statement_timeout` for all of it, and memory stays bounded all the same. `postgresql_blocks`
reads rows past libpq; `CellRows` here through it, cell by cell as text, where only libpq can read the
connection. This is the one place that drives libpq below psycopg's cursors.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psycopg
import pyarrow as pa
from psycopg import capabilities, generators, pq
from psycopg.adapt import PyFormat, Transformer
from psycopg.errors import error_from_result
from psycopg.postgres import types

from reporthub_dagster.connectors.postgresql_columns import WireColumn

_UNNAMED = b""
"""A prepared statement that ends with the next one: none is left behind on a pooler's connection."""
_CHUNK_ROWS = 1000
_ROWS_BETWEEN_LOOKS = 250
"""Rows may be wide: so often the size of a batch is looked at."""
_TEXT = types["text"].oid
_ROWS = (pq.ExecStatus.TUPLES_CHUNK, pq.ExecStatus.SINGLE_TUPLE)


@dataclass(frozen=True, slots=True)
class Field:
    """A column of a result as the server describes it."""

    name: str
    oid: int
    modifier: int


@dataclass(frozen=True, slots=True)
class Statement:
    """A query that the server has read and not yet run.

    Attributes:
        values: Of its `$1` placeholders, in the forms of `formats`; None for NULL.
        formats: 0 for text and 1 for binary, for each value.
        fields: Its columns.
    """

    values: Sequence[Any]
    formats: Sequence[int]
    fields: list[Field]


def prepare(
    connection: psycopg.Connection[Any], sql: str, values: Sequence[Any], texts: Collection[int] = ()
) -> Statement:
    """Have the server read a query.

    Args:
        connection: Idle but for its transaction.
        sql: One statement with `$1` placeholders.
        values: Of these, in order.
        texts: Numbers of those whose type the server cannot tell from the statement.

    Raises:
        psycopg.Error: The server refuses the query; or the connection is lost.
    """
    converter, wire = Transformer(connection), connection.pgconn
    dumped = converter.dump_sequence(values, [PyFormat.AUTO] * len(values))
    known = converter.types or ()
    kinds = [_TEXT if place in texts else kind for place, kind in enumerate(known, 1)]
    wire.send_prepare(_UNNAMED, sql.encode(), param_types=kinds)
    _answer(connection)
    wire.send_describe_prepared(_UNNAMED)
    found = _answer(connection)
    fields = [
        Field((found.fname(place) or b"").decode(), found.ftype(place), found.fmod(place))
        for place in range(found.nfields)
    ]
    return Statement(dumped, converter.formats or (), fields)


class Rows(ABC):
    """The rows of one statement, from a connection of its own."""

    binary: bool
    """True when values may come in their type's binary form."""
    running = False
    """True while the server is at work for them."""

    @abstractmethod
    def run(self, statement: Statement, columns: Sequence[WireColumn]) -> None:
        """Run what was prepared last, and wait for the first row.

        Raises:
            psycopg.Error: The server refuses a value, or the query; or the connection is lost.
        """

    @abstractmethod
    def read(self, rows: int, size: int, seconds: float) -> list[pa.Array] | None:
        """The next rows as an array a column: at most `rows`, about `size` bytes, for about `seconds`.

        None after the last.

        Raises:
            psycopg.Error: The server cannot go on; or the connection is lost.
        """


class CellRows(Rows):
    """Rows that libpq reads in chunks, and gives out cell by cell."""

    binary = False

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self._columns = 0
        self._chunk: pq.abc.PGresult | None = None
        self._at = 0

    def run(self, statement: Statement, columns: Sequence[WireColumn]) -> None:
        """See `Rows.run`."""
        wire = self._connection.pgconn
        self._columns = len(columns)
        self.running = True
        wire.send_query_prepared(_UNNAMED, statement.values, param_formats=statement.formats)
        if capabilities.has_stream_chunked():
            wire.set_chunked_rows_mode(_CHUNK_ROWS)
        else:
            wire.set_single_row_mode()
        self._connection.wait(generators.send(wire))
        self._next()

    def read(self, rows: int, size: int, seconds: float) -> list[pa.Array] | None:
        """See `Rows.read`."""
        cells: list[list[bytes | None]] = [[] for _ in range(self._columns)]
        taken = 0
        for chunk, places in self._pieces(rows, seconds):
            value = chunk.get_value
            for column, cell in enumerate(cells):
                found = [value(row, column) for row in places]
                cell.extend(found)
                taken += sum(map(len, filter(None, found)))
            if taken > size:
                break
        return [pa.array(cell, pa.binary()) for cell in cells] if cells[0] else None

    def _pieces(self, rows: int, seconds: float) -> Iterator[tuple[pq.abc.PGresult, range]]:
        """The next rows as places in a chunk, a few at a time."""
        end = time.monotonic() + seconds
        while rows and (chunk := self._current()) is not None:
            places = range(self._at, min(chunk.ntuples, self._at + min(rows, _ROWS_BETWEEN_LOOKS)))
            self._at = places.stop
            rows -= len(places)
            yield chunk, places
            if time.monotonic() > end:
                break

    def _current(self) -> pq.abc.PGresult | None:
        """The chunk that has rows left; None after the last."""
        if self._chunk is not None and self._at == self._chunk.ntuples:
            self._next()
        return self._chunk

    def _next(self) -> None:
        """Wait for the next chunk; after the last one there is none to read."""
        result = self._fetch()
        if result is None:
            raise psycopg.OperationalError("the server sent no result")
        if result.status == pq.ExecStatus.FATAL_ERROR:
            with suppress(psycopg.Error):
                while self._fetch() is not None:
                    pass
            raise error_from_result(result)
        self._chunk = result if result.status in _ROWS else None
        self.running = self._chunk is not None
        self._at = 0

    def _fetch(self) -> pq.abc.PGresult | None:
        fetched: pq.abc.PGresult | None = self._connection.wait(generators.fetch(self._connection.pgconn))
        return fetched


def _answer(connection: psycopg.Connection[Any]) -> pq.abc.PGresult:
    results = connection.wait(generators.execute(connection.pgconn))
    result: pq.abc.PGresult = results[-1]
    if result.status == pq.ExecStatus.FATAL_ERROR:
        raise error_from_result(result)
    return result
