"""The result of a MySQL query read packet by packet into columns, and dropped without reading the rest.

This is the one place that uses private parts of PyMySQL (`_rfile`, `_result`, `_read_timeout`,
`_force_close`), for what its public cursors cannot do: `SSCursor.close()` reads a cut result to its end,
and a row of Python objects costs a multiple of the bytes of a column. `connectors/test_mysql.py` holds what
we rely on.

The packets are those of the text protocol: https://mariadb.com/kb/en/result-set-packets/.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

import pymysql
from pymysql.constants import CR
from pymysql.protocol import FieldDescriptorPacket

Cells = list[list[bytes | None]]
"""The values of a batch, column by column."""

_WHOLE_PACKET = 0xFFFFFF
_NULL, _TWO_BYTES, _THREE_BYTES, _EOF, _ERROR = 0xFB, 0xFC, 0xFD, 0xFE, 0xFF
_LONGEST_EOF = 8


class ServerSilent(pymysql.err.OperationalError):  # type: ignore[misc] # PyMySQL has no types
    """The server did not answer within `Wire.limit_waiting`."""


class Wire:
    """An open PyMySQL connection and the result that is being read from it."""

    def __init__(self, connection: pymysql.Connection) -> None:
        self._connection = connection
        self._done = True

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
        self._done = False
        return list(result.fields)

    def read(self, columns: int, *, rows: int, size: int, seconds: float) -> Cells:
        """The next rows: at most `rows`, about `size` bytes, for about `seconds`; empty at the end."""
        cells: Cells = [[] for _ in range(columns)]
        if self._done:
            return cells
        appends = [column.append for column in cells]
        packet_of = self._packets()
        end = time.monotonic() + seconds
        taken = 0
        for _ in range(rows):
            packet = packet_of()
            if packet[0] >= _EOF and self._ends(packet):
                break
            _split(packet, appends)
            taken += len(packet)
            if taken > size or time.monotonic() > end:
                break
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
        self._done = True

    def _ends(self, packet: bytes) -> bool:
        if packet[0] == _ERROR:
            self._forget_result()
            pymysql.err.raise_mysql_exception(packet)
        if len(packet) > _LONGEST_EOF:
            return False
        self._forget_result()
        return True

    def _packets(self) -> Callable[[], bytes]:
        """A function that reads the next packet, however many frames it has."""
        read = self._connection._rfile.read  # noqa: SLF001

        def packet() -> bytes:
            whole = b""
            while True:
                try:
                    header = read(4)
                    length = int.from_bytes(header[:3], "little")
                    frame: bytes = read(length)
                except OSError as error:
                    _lost(error)
                if len(header) < 4 or len(frame) < length:  # noqa: PLR2004 - a frame's header
                    _lost(None)
                whole = whole + frame if whole else frame
                if length < _WHOLE_PACKET:
                    return whole

        return packet


def _lost(reason: OSError | None) -> NoReturn:
    kind = ServerSilent if isinstance(reason, TimeoutError) else pymysql.err.OperationalError
    detail = f" ({reason})" if reason else ""
    raise kind(CR.CR_SERVER_LOST, f"Lost connection to MySQL server during query{detail}") from reason


def _split(packet: bytes, appends: list[Callable[[bytes | None], None]]) -> None:
    """Append each length-encoded value of a row to its column."""
    at = 0
    for append in appends:
        length = packet[at]
        at += 1
        if length == _NULL:
            append(None)
            continue
        if length > _NULL:
            width = 2 if length == _TWO_BYTES else 3 if length == _THREE_BYTES else 8
            length = int.from_bytes(packet[at : at + width], "little")
            at += width
        append(packet[at : at + length])
        at += length


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
