"""The bytes of a connection that libpq has made, past libpq's parser and inside of its TLS.

libpq keeps connecting, authenticating and verifying; of rows it makes an object each, and of columns none.
So while a result comes, we read its connection ourselves: the plain socket, or the TLS session that libpq
lends (`PQsslStruct`, for OpenSSL's own functions). Nothing of libpq's is replaced, and where one of these
functions is missing, or another encryption is used, `socket_of` says so and rows are read through libpq.
"""

from __future__ import annotations

import ctypes
import math
import os
import select
import time
from functools import cache
from importlib import import_module
from typing import Any

import psycopg
from psycopg import pq

_AT_ONCE = 256 * 1024
_WAITS_FOR = {2: select.POLLIN, 3: select.POLLOUT}
"""What is meant by SSL_ERROR_WANT_READ and SSL_ERROR_WANT_WRITE."""
_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "PQsocket": (ctypes.c_int, ctypes.c_void_p),
    "PQgssEncInUse": (ctypes.c_int, ctypes.c_void_p),
    "PQsslInUse": (ctypes.c_int, ctypes.c_void_p),
    "PQsslStruct": (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p),
    "SSL_read": (ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int),
    "SSL_set_read_ahead": (None, ctypes.c_void_p, ctypes.c_int),
    "SSL_write": (ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int),
    "SSL_get_error": (ctypes.c_int, ctypes.c_void_p, ctypes.c_int),
    "ERR_clear_error": (None,),
}
"""Function → its result and its arguments."""


class PlainSocket:
    """The socket of a connection without encryption, which libpq has made non-blocking.

    Args:
        descriptor: Its number.
        seconds: How long the server may be silent, all in all.
    """

    def __init__(self, descriptor: int, seconds: float) -> None:
        self._descriptor = descriptor
        self._end = time.monotonic() + seconds

    def send(self, data: bytes) -> None:
        """Send all of it.

        Raises:
            psycopg.OperationalError: The connection is lost, or the server does not take it in time.
        """
        while data:
            data = data[self._sent(data) :]

    def receive(self, room: memoryview) -> int:
        """Put what has come into `room`; 0 when nothing has.

        Raises:
            psycopg.OperationalError: The connection is lost.
        """
        try:
            got = os.readv(self._descriptor, [room[:_AT_ONCE]])
        except BlockingIOError:
            return 0
        except OSError as error:
            raise _lost(error) from None
        if not got:
            raise _lost("the server closed it")
        return got

    def wait_to_receive(self, seconds: float) -> bool:
        """Wait for more; False when none has come after `seconds`.

        Raises:
            psycopg.OperationalError: Nor when all of the time was over.
        """
        return self._wait(select.POLLIN, seconds)

    def _sent(self, data: bytes) -> int:
        """How much of it was sent, if anything; else it may be tried again."""
        try:
            return os.write(self._descriptor, data)
        except BlockingIOError:
            self._wait(select.POLLOUT, math.inf)
            return 0
        except OSError as error:
            raise _lost(error) from None

    def _wait(self, kind: int, seconds: float) -> bool:
        left = self._end - time.monotonic()
        poll = select.poll()
        poll.register(self._descriptor, kind)
        if poll.poll(math.ceil(max(min(left, seconds), 0) * 1000)):
            return True
        if left <= seconds:
            raise _lost("the server is silent")
        return False


class TLSSocket(PlainSocket):
    """The same inside of libpq's TLS session.

    Args:
        descriptor: Of the socket.
        seconds: How long the server may be silent, all in all.
        library: OpenSSL's functions.
        session: Its `SSL *`.
    """

    def __init__(self, descriptor: int, seconds: float, library: ctypes.CDLL, session: int) -> None:
        super().__init__(descriptor, seconds)
        self._library = library
        self._session = session
        library.SSL_set_read_ahead(session, 1)

    def receive(self, room: memoryview) -> int:
        """See `PlainSocket.receive`."""
        read, session = self._library.SSL_read, self._session
        place, most = ctypes.addressof(ctypes.c_char.from_buffer(room)), min(len(room), _AT_ONCE)
        self._library.ERR_clear_error()
        filled, got = 0, 1
        # One call gives out one record, and a server sends 8 KiB in each.
        while filled < most and got > 0:
            got = read(session, place + filled, most - filled)
            filled += max(got, 0)
        if not filled and self._waits_for(got) == select.POLLOUT:
            self._wait(select.POLLOUT, math.inf)
        return filled

    def _sent(self, data: bytes) -> int:
        self._library.ERR_clear_error()
        sent: int = self._library.SSL_write(self._session, data, len(data))
        if sent > 0:
            return sent
        self._wait(self._waits_for(sent), math.inf)
        return 0

    def _waits_for(self, result: int) -> int:
        reason = self._library.SSL_get_error(self._session, result)
        if reason not in _WAITS_FOR:
            raise _lost("the server closed it, or its TLS failed")
        return _WAITS_FOR[reason]


def socket_of(connection: psycopg.Connection[Any], seconds: float) -> PlainSocket | None:
    """The bytes of an idle connection; None where only libpq can read them.

    Args:
        connection: Stays psycopg's, which does not learn of what is sent and received here.
        seconds: How long the server may be silent, all in all.
    """
    library, wire = _library(), connection.pgconn
    address = getattr(wire, "pgconn_ptr", None)
    if library is None or not address or library.PQsocket(address) != wire.socket:
        return None
    if library.PQgssEncInUse(address):
        return None
    if not library.PQsslInUse(address):
        return PlainSocket(wire.socket, seconds)
    session = library.PQsslStruct(address, b"OpenSSL")
    return TLSSocket(wire.socket, seconds, library, session) if session else None


@cache
def _library() -> ctypes.CDLL | None:
    """libpq, and the OpenSSL that it uses, as psycopg has loaded them; None when they are not to be found."""
    if pq.__impl__ == "python":
        return None
    # A library is asked for what it is linked with, too: the very copies that psycopg uses.
    library = ctypes.CDLL(import_module(f"psycopg_{pq.__impl__}.pq").__file__)
    try:
        for name, (result, *arguments) in _SIGNATURES.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except AttributeError:
        return None
    return library


def _lost(words: object) -> psycopg.OperationalError:
    return psycopg.OperationalError(f"the connection ended: {words}")
