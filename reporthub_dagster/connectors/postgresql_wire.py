"""A PostgreSQL result read in chunks of text, columns first, while the server still produces it.

libpq's chunked rows mode instead of a server-side cursor: the statement runs as any other, with parallel
plans (which PostgreSQL refuses to cursors) and one `statement_timeout` for all of it, and memory stays
bounded all the same. This is the one place that drives libpq below psycopg's cursors.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Any

import psycopg
from psycopg import capabilities, generators, pq
from psycopg.adapt import PyFormat, Transformer
from psycopg.errors import error_from_result
from psycopg.postgres import types

Cells = list[list[bytes | None]]
"""The values of a batch, column by column."""

_CHUNK_ROWS = 1000
_TEXT = types["text"].oid
_ROWS = (pq.ExecStatus.TUPLES_CHUNK, pq.ExecStatus.SINGLE_TUPLE)


class Wire:
    """An open psycopg connection and the result that is being read from it."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self._chunk: pq.abc.PGresult | None = None
        self._at = 0

    def send(self, sql: str, values: Sequence[Any], texts: Collection[int] = ()) -> pq.abc.PGresult:
        """Run a query with `$1` placeholders; returns a result that describes its columns.

        Args:
            sql: One statement.
            values: Of its placeholders, in order.
            texts: Numbers of those placeholders whose type the server cannot tell from the statement.
        """
        converter = Transformer(self._connection)
        dumped = converter.dump_sequence(values, [PyFormat.AUTO] * len(values))
        kinds = [_TEXT if place in texts else kind for place, kind in enumerate(converter.types or (), 1)]
        wire = self._connection.pgconn
        wire.send_query_params(sql.encode(), dumped, param_types=kinds, param_formats=converter.formats)
        if capabilities.has_stream_chunked():
            wire.set_chunked_rows_mode(_CHUNK_ROWS)
        else:
            wire.set_single_row_mode()
        self._connection.wait(generators.send(wire))
        return self._next()

    def read(self, columns: int, *, rows: int, size: int, seconds: float) -> Cells:
        """The next rows: at most `rows`, about `size` bytes, for about `seconds`; empty at the end."""
        cells: Cells = [[] for _ in range(columns)]
        end = time.monotonic() + seconds
        taken = 0
        while self._chunk is not None and len(cells[0]) < rows:
            chunk = self._chunk
            last = min(chunk.ntuples, self._at + rows - len(cells[0]))
            value = chunk.get_value
            for column, cell in enumerate(cells):
                found = [value(row, column) for row in range(self._at, last)]
                cell.extend(found)
                taken += sum(map(len, filter(None, found)))
            self._at = last
            if last == chunk.ntuples:
                self._next()
            if taken > size or time.monotonic() > end:
                break
        return cells

    def _next(self) -> pq.abc.PGresult:
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
        return result

    def _fetch(self) -> pq.abc.PGresult | None:
        fetched: pq.abc.PGresult | None = self._connection.wait(generators.fetch(self._connection.pgconn))
        return fetched
