"""A way to a server that is cut: at once, in the middle of what a client sends, or before it is answered."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Literal

import pytest

HOST = "127.0.0.1"
Moment = Literal["before", "during", "after"]
_PIECE = 1 << 16


@contextmanager
def cutting_proxy(port: int, moment: Moment, payload: int) -> Iterator[int]:
    """A port that leads to another; every connection through it is cut.

    Args:
        port: Of the server.
        moment: `before` any byte; `during`: when an eighth of the payload has passed, so that the rest finds
            no room in buffers; `after`: when all of it has, instead of the server's next word.
        payload: Bytes.
    """
    with socket.create_server((HOST, 0)) as listener, ExitStack() as connections:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _PIECE)
        threads: list[threading.Thread] = []

        def accept() -> None:
            with suppress(OSError):
                while True:
                    client = connections.enter_context(listener.accept()[0])
                    if moment == "before":
                        client.close()
                        continue
                    server = connections.enter_context(socket.create_connection((HOST, port)))
                    pair = _Pair(client, server, moment, payload)
                    for work in (pair.forth, pair.back):
                        threads.append(threading.Thread(target=work))
                        threads[-1].start()

        acceptor = threading.Thread(target=accept)
        acceptor.start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            acceptor.join()
            for thread in threads:
                thread.join()


class _Pair:
    def __init__(self, client: socket.socket, server: socket.socket, moment: Moment, payload: int) -> None:
        self._client, self._server = client, server
        self._moment = moment
        self._limit = payload // 8 if moment == "during" else payload
        self._sent = 0

    def forth(self) -> None:
        with suppress(OSError):
            while piece := self._client.recv(_PIECE):
                self._sent += len(piece)
                if self._moment == "during" and self._sent > self._limit:
                    break
                self._server.sendall(piece)
        self._cut()

    def back(self) -> None:
        with suppress(OSError):
            while piece := self._server.recv(_PIECE):
                if self._sent > self._limit:
                    break
                self._client.sendall(piece)
        self._cut()

    def _cut(self) -> None:
        for end in (self._client, self._server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()  # whoever still sends learns of it at once


StartCutting = Callable[[int, Moment, int], int]


@pytest.fixture
def start_cutting() -> Iterator[StartCutting]:
    """Starts cutting proxies with the arguments of `cutting_proxy`; all end with the test."""
    with ExitStack() as running:
        yield lambda *given: running.enter_context(cutting_proxy(*given))
