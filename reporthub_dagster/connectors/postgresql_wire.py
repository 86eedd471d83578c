"""A PostgreSQL result read in chunks of text, a row or a cell at a time, while the server still produces it.

libpq's chunked rows mode instead of a server-side cursor: the statement runs as any other, with parallel
plans (which PostgreSQL refuses to cursors) and one `statement_timeout` for all of it, and memory stays
bounded all the same. This is the one place that drives libpq below psycopg's cursors.
"""

from __future__ import annotations

import time
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

from reporthub_dagster.connectors import postgresql_rows

_UNNAMED = b""
"""A prepared statement that ends with the next one: none is left behind on a pooler's connection."""
_CHUNK_ROWS = 1000
_ROWS_BETWEEN_LOOKS = 100
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
        sql: With `$1` placeholders.
        kinds: The types that the server takes these for.
        fields: Its columns.
    """

    sql: str
    kinds: list[int]
    fields: list[Field]


class Wire:
    """An open psycopg connection and the result that is being read from it."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self._chunk: pq.abc.PGresult | None = None
        self._at = 0
        self._values: Sequence[Any] = ()
        self._formats: Sequence[int] | None = None
        self._row_texts = False

    def prepare(self, sql: str, values: Sequence[Any], texts: Collection[int] = ()) -> Statement:
        """Have the server read a query.

        Args:
            sql: One statement with `$1` placeholders.
            values: Of these, in order.
            texts: Numbers of those whose type the server cannot tell from the statement.
        """
        converter = Transformer(self._connection)
        self._values = converter.dump_sequence(values, [PyFormat.AUTO] * len(values))
        self._formats = converter.formats
        known = converter.types or ()
        self._prepare(sql, [_TEXT if place in texts else kind for place, kind in enumerate(known, 1)])
        self._connection.pgconn.send_describe_prepared(_UNNAMED)
        found = self._answer()
        return Statement(
            sql,
            [found.param_type(place) for place in range(found.nparams)],
            [
                Field((found.fname(place) or b"").decode(), found.ftype(place), found.fmod(place))
                for place in range(found.nfields)
            ],
        )

    def prepare_row_texts(self, statement: Statement) -> None:
        """Have the server read the query again as one that gives each row as one text.

        Raises:
            psycopg.Error: It cannot be part of another query.
        """
        self._prepare(postgresql_rows.in_one_column(statement.sql), statement.kinds)
        self._row_texts = True

    def execute(self) -> None:
        """Run what was prepared last and wait for its first rows."""
        wire = self._connection.pgconn
        wire.send_query_prepared(_UNNAMED, self._values, param_formats=self._formats)
        if capabilities.has_stream_chunked():
            wire.set_chunked_rows_mode(_CHUNK_ROWS)
        else:
            wire.set_single_row_mode()
        self._connection.wait(generators.send(wire))
        self._next()

    def read(self, columns: int, *, rows: int, size: int, seconds: float) -> list[pa.Array]:
        """The next rows as columns of bytes: at most `rows`, about `size` bytes, for about `seconds`.

        None at the end.
        """
        width = 1 if self._row_texts else columns
        cells: list[list[bytes | None]] = [[] for _ in range(width)]
        taken = 0
        for chunk, places in self._pieces(rows, seconds):
            value = chunk.get_value
            for column, cell in enumerate(cells):
                found = [value(row, column) for row in places]
                cell.extend(found)
                taken += sum(map(len, filter(None, found)))
            if taken > size:
                break
        if self._row_texts and cells[0]:
            return postgresql_rows.cells_of([row or b"" for row in cells[0]], columns)
        return [pa.array(cell, pa.binary()) for cell in (cells if cells[0] else [[]] * columns)]

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

    def _prepare(self, sql: str, kinds: Sequence[int]) -> None:
        self._row_texts = False
        self._connection.pgconn.send_prepare(_UNNAMED, sql.encode(), param_types=kinds)
        self._answer()

    def _answer(self) -> pq.abc.PGresult:
        results = self._connection.wait(generators.execute(self._connection.pgconn))
        result: pq.abc.PGresult = results[-1]
        if result.status == pq.ExecStatus.FATAL_ERROR:
            raise error_from_result(result)
        return result

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
        self._at = 0

    def _fetch(self) -> pq.abc.PGresult | None:
        fetched: pq.abc.PGresult | None = self._connection.wait(generators.fetch(self._connection.pgconn))
        return fetched
