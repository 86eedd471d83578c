"""Answers of the standard library's HTTP client that have a limit: in time, also in drops, and in size."""

from __future__ import annotations

import http.client
import io
import socket
import time
from collections.abc import Callable
from typing import Any

_REFUSAL_BYTES = 1_000_000


class TooLongAnswerError(OSError):
    """An answer goes on and on."""


def limited_response(
    seconds: Callable[[], float], most_bytes: int | None = None
) -> type[http.client.HTTPResponse]:
    """What a connection's `response_class` may be.

    Args:
        seconds: For an answer from its first byte to its last; asked before it.
        most_bytes: Of it; a refusal has a megabyte in any case.
    """

    class Limited(http.client.HTTPResponse):
        def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
            super().__init__(sock, *args, **kwargs)
            self._limits = _Limits(self.fp.detach(), sock, time.monotonic() + seconds(), most_bytes)
            self.fp = io.BufferedReader(self._limits)

        def begin(self) -> None:
            super().begin()
            if self.status >= http.client.MULTIPLE_CHOICES:
                self._limits.left_bytes = min(self._limits.left_bytes or _REFUSAL_BYTES, _REFUSAL_BYTES)

    return Limited


class _Limits(io.RawIOBase):
    """A connection's bytes, as long as time and size allow.

    Attributes:
        left_bytes: None where there is no end to them.
    """

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, end: float, most_bytes: int | None) -> None:
        self._raw = raw
        self._sock = sock
        self._end = end
        self.left_bytes = most_bytes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer has no end")
        patience = self._sock.gettimeout()
        self._sock.settimeout(left if patience is None else min(patience, left))
        try:
            count = self._raw.readinto(buffer)
        finally:
            self._sock.settimeout(patience)
        if self.left_bytes is not None and count:
            self.left_bytes -= count
            if self.left_bytes < 0:
                raise TooLongAnswerError("the answer is longer than an answer may be")
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()
