"""The messages of a PostgreSQL result, taken from the connection in blocks instead of one by one.

A message is a byte that says what it is, four bytes of length, which count themselves, and a payload
(https://www.postgresql.org/docs/current/protocol-message-formats.html). A row is one message, so a block is
a piece of memory with the places where its rows begin and end, and nobody makes an object of a row.
"""

from __future__ import annotations

import math
import struct
import time
from dataclasses import dataclass
from itertools import repeat
from typing import Protocol

import numpy as np
import numpy.typing as npt
import psycopg

from reporthub_dagster.connectors.cell_bytes import Places
from reporthub_dagster.connectors.postgresql_glance import ROW, Glance

BLOCK_BYTES = 4 * 1024 * 1024
"""Bytes of one block; a longer row is a block of its own."""

_FIND_BYTES = 64 * 1024
"""As much may come before rows are looked for; what comes beyond a batch is moved for the next one."""
_PATIENCE = 0.001
"""Seconds to wait for more before rows are looked for in what is here: a server sends 8 KiB at a time."""
_KIND_BYTES, _HEADER_BYTES = 1, 5
_SHORTEST, _LONGEST = 4, 2**30
_NOT_HERE = b"\xff" * _HEADER_BYTES
"""Stands after what has come: a message whose length is not here yet is longer than what is."""
_BY_THE_WAY = b"NSA"
"""Notices, changed settings and notifications: nothing of the result."""
_length = struct.Struct(">xI").unpack_from


class Source(Protocol):
    """Where the bytes come from: see `PlainSocket`."""

    def receive(self, room: memoryview) -> int:
        """Put what has come into `room`; 0 when nothing has."""

    def wait_to_receive(self, seconds: float) -> bool:
        """Wait for more; False when none has come after `seconds`."""


class MalformedMessageError(ValueError):
    """What has come is no message."""


@dataclass(frozen=True, slots=True)
class Block:
    """Rows side by side in one piece of memory, which the next block overwrites.

    Attributes:
        data: The memory.
        starts: Where the message of each row begins.
        ends: Where it ends.
    """

    data: npt.NDArray[np.uint8]
    starts: Places
    ends: Places


class MessageReader:
    """Reads what answers one query.

    Args:
        source: The connection, at the first message.
        block_bytes: Memory to read into.
    """

    def __init__(self, source: Source, block_bytes: int = BLOCK_BYTES) -> None:
        self._source = source
        self._size = block_bytes
        self._buffer = bytearray(block_bytes + _HEADER_BYTES)
        self._view = memoryview(self._buffer)
        self._data = np.frombuffer(self._buffer, np.uint8)
        self._glance = Glance()
        self._at = 0
        self._filled = 0
        self._expected = 0

    def message(self) -> tuple[bytes, bytes]:
        """Wait for the next message and take it: its kind and payload; where it is a row, leave it there.

        Raises:
            psycopg.OperationalError: The connection is lost, or silent for too long.
            MalformedMessageError: See there.
        """
        while True:
            self._make_room()
            self._await(_HEADER_BYTES)
            kind = bytes(self._view[:_KIND_BYTES])
            if kind[0] == ROW:
                return kind, b""
            payload = bytes(self._first()[_HEADER_BYTES:])
            if kind not in _BY_THE_WAY:
                return kind, payload

    def rows(self, most: int, seconds: float) -> Block:
        """The next rows: at most `most`, for about `seconds`; none when another message comes first.

        Raises:
            psycopg.OperationalError, MalformedMessageError: As `message`.
        """
        self._make_room()
        until = time.monotonic() + seconds
        self._take_what_comes(until)
        ends = np.empty(0, np.int64)
        while True:
            ends = np.concatenate([ends, self._find(most - len(ends))])
            if len(ends) == most or (len(ends) and self._is_other(ends)):
                break
            if self._filled == self._size:
                if not len(ends) and self._buffer[0] == ROW:
                    return self._wide()
                break
            if not self._receive(until - time.monotonic() if len(ends) else math.inf):
                break
        return self._block(ends)

    def _find(self, most: int) -> Places:
        """Where the next messages end that are wholly here, at most so many."""
        at = self._at
        ends = self._glance.ends(self._data[at : self._filled], most) + at
        if len(ends):
            self._at = int(ends[-1])
            if len(ends) == most:
                return ends
        return np.concatenate([ends, self._step(most - len(ends))])

    def _step(self, most: int) -> Places:
        """The same from message to message; the one loop that runs once a row."""
        buffer, filled, at = self._buffer, self._filled, self._at
        buffer[filled : filled + _HEADER_BYTES] = _NOT_HERE
        ends: list[int] = []
        append = ends.append
        for _ in repeat(None, most):
            end = at + 1 + _length(buffer, at)[0]
            if end > filled:
                break
            append(end)
            at = end
        self._at = at
        return np.fromiter(ends, np.int64, len(ends))

    def _is_other(self, ends: Places) -> bool:
        """True when the last message found is no row: the result is over, or something comes in between."""
        return self._buffer[int(ends[-2]) if len(ends) > 1 else 0] != ROW

    def _block(self, ends: Places) -> Block:
        """The rows alone; what comes from the first message on that is about the result is left for later."""
        starts = np.zeros_like(ends)
        starts[1:] = ends[:-1]
        self._expected = self._at + _FIND_BYTES
        kinds = self._data[starts]
        rows = kinds == ROW
        if rows.all():
            return Block(self._data, starts, ends)
        about = np.flatnonzero(~(rows | np.isin(kinds, list(_BY_THE_WAY))))
        if about.size:
            self._at = int(starts[about[0]])
            rows[about[0] :] = False
        return Block(self._data, starts[rows], ends[rows])

    def _wide(self) -> Block:
        """The row at the start of the buffer, which is too small for it."""
        whole = np.frombuffer(self._first(), np.uint8)
        return Block(whole, np.zeros(1, np.int64), np.array([len(whole)], np.int64))

    def _first(self) -> bytearray | memoryview:
        """The whole message at the start of the buffer, taken."""
        length = int(_length(self._buffer)[0])
        if not _SHORTEST <= length <= _LONGEST:
            raise MalformedMessageError
        end = _KIND_BYTES + length
        if end <= self._size:
            self._await(end)
            self._at = end
            return self._view[:end]
        whole = bytearray(end)
        filled = self._filled
        whole[:filled] = self._view[:filled]
        self._at = self._filled = 0
        with memoryview(whole) as room:
            while filled < end:
                filled += self._source.receive(room[filled:]) or self._nothing()
        return whole

    def _await(self, size: int) -> None:
        """Receive until the buffer holds as many bytes."""
        while self._filled < size:
            self._receive(math.inf)

    def _take_what_comes(self, until: float) -> None:
        """As much as the last block was long, while more keeps coming: all is looked at together."""
        expected = min(self._expected, self._size)
        while self._receive_up_to(expected) and self._filled < expected and time.monotonic() < until:
            time.sleep(_PATIENCE)

    def _receive(self, seconds: float) -> bool:
        """Take what has come, or wait so long for it; False when there was nothing."""
        if self._receive_up_to(min(self._filled + _FIND_BYTES, self._size)):
            return True
        return self._source.wait_to_receive(seconds)

    def _receive_up_to(self, enough: int) -> bool:
        """Take what has come until the buffer holds as many bytes; False when there was nothing to take."""
        begin = self._filled
        while self._filled < enough:
            try:
                got = self._source.receive(self._view[self._filled : enough])
            except psycopg.OperationalError:
                if self._filled == begin:
                    raise
                # What came last may say why the connection ends.
                break
            if not got:
                break
            self._filled += got
        return self._filled > begin

    def _nothing(self) -> int:
        self._source.wait_to_receive(math.inf)
        return 0

    def _make_room(self) -> None:
        """Move what has come of later messages to the start."""
        rest = self._filled - self._at
        self._view[:rest] = self._view[self._at : self._filled]
        self._at, self._filled = 0, rest
