"""The rows of a PostgreSQL statement read past libpq, in blocks, each column in the form that suits it.

libpq knows one form for a whole result, and makes a copy of each row and an object of each cell. The protocol
lets a column have its own: https://www.postgresql.org/docs/current/protocol-message-formats.html, Bind.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
import pyarrow as pa

from reporthub_dagster.connectors.postgresql_cells import Layout, MalformedRowError
from reporthub_dagster.connectors.postgresql_columns import WireColumn
from reporthub_dagster.connectors.postgresql_messages import (
    BLOCK_BYTES,
    MalformedMessageError,
    MessageReader,
)
from reporthub_dagster.connectors.postgresql_socket import PlainSocket, socket_of
from reporthub_dagster.connectors.postgresql_wire import CellRows, Rows, Statement

_EXECUTE_ALL = b"\0" + bytes(4)
_NULL = b"\xff\xff\xff\xff"
_BOUND, _ROW, _ERROR, _COMPLETE, _EMPTY = b"2", b"D", b"E", b"C", b"I"
_STATE, _WORDS, _HINT = "C", "M", "H"


def rows_of(connection: psycopg.Connection[Any], seconds: float, block_bytes: int = BLOCK_BYTES) -> Rows:
    """The rows that a connection will have.

    Args:
        connection: Of this statement alone.
        seconds: How long the server may take for all of them.
        block_bytes: Memory to read rows into, which bounds a batch.
    """
    socket = socket_of(connection, seconds)
    return CellRows(connection) if socket is None else BlockRows(socket, block_bytes)


class BlockRows(Rows):
    """Rows read from the bytes of a connection.

    Args:
        socket: Its bytes.
        block_bytes: Memory to read rows into, which bounds a batch.
    """

    binary = True

    def __init__(self, socket: PlainSocket, block_bytes: int) -> None:
        self._socket = socket
        self._reader = MessageReader(socket, block_bytes)
        self._layout = Layout([])

    def run(self, statement: Statement, columns: Sequence[WireColumn]) -> None:
        """See `Rows.run`."""
        self._layout = Layout([column.stored for column in columns])
        self.running = True
        bind = _bind(statement, [int(column.binary) for column in columns])
        self._socket.send(_message(b"B", bind) + _message(b"E", _EXECUTE_ALL) + _message(b"S", b""))
        with _readable():
            self._expect(_BOUND)
            self._expect(_ROW)

    def read(self, rows: int, size: int, seconds: float) -> list[pa.Array] | None:
        """See `Rows.read`; `size` is that of the block."""
        del size
        with _readable():
            while self.running:
                block = self._reader.rows(rows, seconds)
                if len(block.ends):
                    return self._layout.cells_of(block)
                self._expect(_ROW)
        return None

    def _expect(self, wanted: bytes) -> None:
        """Wait for a kind of message, or for the end of the result."""
        kind, payload = self._reader.message()
        if kind == _ERROR:
            self.running = False
            raise _error(payload)
        if kind in (_COMPLETE, _EMPTY):
            self.running = False
        elif kind != wanted:
            raise MalformedMessageError


def _bind(statement: Statement, forms: Sequence[int]) -> bytes:
    """What runs the unnamed statement with its values, its columns in these forms."""
    values = [None if value is None else bytes(value) for value in statement.values]
    return b"".join(
        [
            b"\0\0",
            _shorts(statement.formats),
            struct.pack(">H", len(values)),
            *(_NULL if value is None else struct.pack(">i", len(value)) + value for value in values),
            _shorts(forms),
        ]
    )


def _shorts(numbers: Sequence[int]) -> bytes:
    """Numbers of 16 bits behind how many they are."""
    return struct.pack(f">H{len(numbers)}h", len(numbers), *numbers)


def _message(kind: bytes, payload: bytes) -> bytes:
    return kind + struct.pack(">i", 4 + len(payload)) + payload


def _error(payload: bytes) -> psycopg.Error:
    """The server's word as psycopg's exception, as far as anybody here asks for it."""
    parts = [part.decode(errors="replace") for part in payload.split(b"\0") if part]
    fields = {part[0]: part[1:] for part in parts}
    state = fields.get(_STATE, "")
    try:
        kind = psycopg.errors.lookup(state)
    except KeyError:
        kind = psycopg.DatabaseError
    error = kind(" ".join(filter(None, (fields.get(_WORDS), fields.get(_HINT)))))
    error.sqlstate = state
    return error


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except (MalformedMessageError, MalformedRowError):
        failure = psycopg.OperationalError("the server sent what cannot be read")
    else:
        return
    raise failure from None
