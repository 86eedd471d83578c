"""The result of a MySQL query read in blocks of rows into columns, and dropped without reading the rest.

This is the one place that uses private parts of PyMySQL (`_rfile`, `_sock`, `_result`, `_read_timeout`,
`_force_close`), for what its public cursors cannot do: `SSCursor.close()` reads a cut result to its end,
and a row of Python objects costs a multiple of the bytes of a column. `connectors/test_mysql.py` holds what
we rely on.

The packets are those of the text protocol: https://mariadb.com/kb/en/result-set-packets/.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

import pyarrow as pa
import pymysql
from pymysql.constants import CR
from pymysql.protocol import FieldDescriptorPacket

from reporthub_dagster.connectors.mysql_cells import MalformedRowError, cells_of, empty_cells
from reporthub_dagster.connectors.mysql_packets import BLOCK_BYTES, PacketReader

_ERROR = 0xFF


class ServerSilent(pymysql.err.OperationalError):  # type: ignore[misc] # PyMySQL has no types
    """The server did not answer within `Wire.limit_waiting`."""


class Wire:
    """An open PyMySQL connection and the result that is being read from it.

    Args:
        connection: Its own.
        block_bytes: Memory to read rows into, which bounds a batch.
    """

    def __init__(self, connection: pymysql.Connection, block_bytes: int = BLOCK_BYTES) -> None:
        self._connection = connection
        self._block_bytes = block_bytes
        self._packets: PacketReader | None = None

    def limit_waiting(self, seconds: float) -> None:
        """Raise `ServerSilent` when the server sends nothing for so long."""
        self._connection._read_timeout = seconds  # noqa: SLF001 - see the module's docstring

    def send(self, sql: str) -> list[FieldDescriptorPacket]:
        """Run a query and return its columns; the rows stay on their way. No columns: it was no SELECT."""
        try:
            self._connection.query(sql, unbuffered=True)
        except pymysql.err.OperationalError as error:
            if isinstance(error.__context__, TimeoutError):
                raise ServerSilent(*error.args) from error.__context__
            raise
        result = self._connection._result  # noqa: SLF001
        if not result.unbuffered_active:
            return []
        self._packets = PacketReader(
            self._connection._rfile,  # noqa: SLF001
            self._block_bytes,
            reading_ahead(self._connection._sock),  # noqa: SLF001
        )
        return list(result.fields)

    def read(self, columns: int, *, rows: int, seconds: float) -> list[pa.Array]:
        """The next rows as columns of bytes: at most `rows`, for about `seconds`; none at the end."""
        if self._packets is None:
            return empty_cells(columns)
        try:
            block, last = self._packets.read(rows, seconds).rows()
            cells = cells_of(block, columns)
        except OSError as error:
            _lost(error)
        except MalformedRowError:
            self._forget_result()
            _malformed()
        if last is not None:
            self._forget_result()
            if last[0] == _ERROR:
                pymysql.err.raise_mysql_exception(last)
        return cells

    def drop(self) -> None:
        """Close the socket, whatever is still coming; never raises."""
        self._forget_result()
        with suppress(Exception):
            self._connection._force_close()  # noqa: SLF001

    def close(self) -> None:
        """Say goodbye after the last row; never raises."""
        self._forget_result()
        with suppress(pymysql.err.Error, OSError):
            self._connection.close()

    def _forget_result(self) -> None:
        """Keep PyMySQL from reading the rest when the result is collected."""
        result = self._connection._result  # noqa: SLF001
        if result is not None:
            result.unbuffered_active = False
        self._connection._result = None  # noqa: SLF001
        self._packets = None


def reading_ahead(connected: socket.socket) -> Callable[[memoryview, float], int]:
    """What reads until nothing more comes for some seconds; who waits longer is told of a lost connection."""
    patience = connected.gettimeout()

    def read_ahead(room: memoryview, seconds: float) -> int:
        filled = 0
        connected.settimeout(seconds)
        try:
            while filled < len(room) and (count := connected.recv_into(room[filled:])):
                filled += count
        except OSError:
            pass
        finally:
            connected.settimeout(patience)
        return filled

    return read_ahead


def _lost(reason: OSError) -> NoReturn:
    kind = ServerSilent if isinstance(reason, TimeoutError) else pymysql.err.OperationalError
    detail = f" ({reason})" if str(reason) else ""
    raise kind(CR.CR_SERVER_LOST, f"Lost connection to MySQL server during query{detail}") from reason


def _malformed() -> NoReturn:
    raise pymysql.err.OperationalError(CR.CR_MALFORMED_PACKET, "The server sent a row that cannot be read")


def run(connection: pymysql.Connection, sql: str, *values: str) -> None:
    """Run a statement whose result nobody wants."""
    with connection.cursor() as cursor:
        cursor.execute(sql, values or None)


def ask(connection: pymysql.Connection, sql: str) -> tuple[bytes, ...]:
    """Run a query that has one row."""
    with connection.cursor() as cursor:
        cursor.execute(sql)
        row: tuple[bytes, ...] = cursor.fetchone()
    return row


def is_mariadb(version: str) -> bool:
    """True for a version that MariaDB gives, also behind a balancer of its own."""
    return "mariadb" in version.lower()
