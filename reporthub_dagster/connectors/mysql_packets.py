"""The packets of a MySQL result, taken from the connection in blocks instead of one by one.

A packet is a payload of up to 16 MiB behind three bytes of length and one of sequence; a longer payload goes
on in the next: https://mariadb.com/kb/en/0-packet/. A row is one packet, so a block is a piece of memory with
the places where its rows begin and end, and nobody makes an object of a row.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from io import DEFAULT_BUFFER_SIZE, BufferedReader

import numpy as np
import numpy.typing as npt

from reporthub_dagster.connectors.cell_bytes import Places

BLOCK_BYTES = 4 * 1024 * 1024
"""Bytes of one block; a wider packet is a block of its own."""

_CHUNK_BYTES = max(64 * 1024, DEFAULT_BUFFER_SIZE)
"""Bytes that one reading asks the stream for: no fewer than its own buffer may hold."""
_PATIENCE = 0.002
"""Seconds to wait for more before packets are looked for in what is here: a server sends 16 KiB at a time."""
_SCAN_BYTES = 32 * 1024
"""From here on a look at all bytes at once takes less than a step from packet to packet."""
_HEADER_BYTES = 4
_WHOLE_FRAME = 0xFFFFFF
_EOF, _ERROR = 0xFE, 0xFF
_LONGEST_EOF = 8

_header = struct.Struct("<I").unpack_from


class ConnectionEndedError(OSError):
    """The server closed the connection in the middle of a result."""


@dataclass(frozen=True, slots=True)
class Block:
    """Packets side by side in one piece of memory, which the next block overwrites; one at least.

    Attributes:
        data: The memory.
        starts: Where each payload begins.
        ends: Where each ends.
    """

    data: npt.NDArray[np.uint8]
    starts: Places
    ends: Places

    def rows(self) -> tuple[Block, bytes | None]:
        """The rows alone, and the packet after them that ends the result, if it is here."""
        start, end = int(self.starts[-1]), int(self.ends[-1])
        if not _ends_result(self.data[start], end - start):
            return self, None
        return Block(self.data, self.starts[:-1], self.ends[:-1]), bytes(self.data[start:end])


def _ends_result(first: int, length: int) -> bool:
    """True for the packets that come after the last row: EOF, or an error.

    No row begins with the byte of an error; one that begins with EOF's has a value of 16 MiB.
    """
    return first == _ERROR or (first == _EOF and length <= _LONGEST_EOF)


def _ends_at_a_glance(data: npt.NDArray[np.uint8], at: int, filled: int, most: int) -> Places:
    """Where packets end that begin at `at` and follow each other, as far as one look at all bytes shows it.

    A byte of zero may be the highest of a length below 64 KiB. It is one where such a packet leads to another
    of the next number; and what is found is true where each of them begins at the end of the one before.
    """
    if filled - at < _SCAN_BYTES:
        return np.empty(0, np.int64)
    here = data[at:filled]
    begin = np.flatnonzero(here[2:] == 0)
    end = begin + _HEADER_BYTES + here[begin] + (here[begin + 1].astype(np.int64) << 8)
    known = end + _HEADER_BYTES <= len(here)
    begin, end = begin[known], end[known]
    follows = (here[end + 2] == 0) & (here[end + 3] == here[begin + 3] + np.uint8(1))
    begin, end = begin[follows], end[follows]
    # Where bytes of a value look like a packet, none leads there.
    led_to = np.zeros(len(here), np.bool_)
    led_to[0] = led_to[end] = True
    begin, end = begin[led_to[begin]], end[led_to[begin]]
    apart = np.flatnonzero(begin[1:] != end[:-1])
    whole = 0 if not len(begin) or begin[0] else min(int(apart[0]) + 1 if len(apart) else len(end), most)
    begin, end = begin[:whole], end[:whole]
    short = np.flatnonzero(end - begin <= _HEADER_BYTES + _LONGEST_EOF)
    last = short[here[begin[short] + _HEADER_BYTES] == _EOF]
    ends: Places = end[: int(last[0]) + 1 if len(last) else whole] + at
    return ends


class PacketReader:
    """Reads the packets of one result.

    Args:
        stream: The connection's, at the first packet after the columns.
        block_bytes: Memory to read into; less than 16 MiB.
        read_ahead: Puts into memory what comes past the stream, until nothing more has come for so many
            seconds; returns how many bytes.
    """

    def __init__(
        self,
        stream: BufferedReader,
        block_bytes: int = BLOCK_BYTES,
        read_ahead: Callable[[memoryview, float], int] = lambda *_: 0,
    ) -> None:
        self._stream = stream
        self._read_ahead = read_ahead
        self._expected = 0
        self._buffered = True
        self._size = block_bytes
        # Where fewer bytes have come than a header has, it is read all the same, and found to be beyond them.
        self._buffer = bytearray(block_bytes + _HEADER_BYTES)
        self._view = memoryview(self._buffer)
        self._data = np.frombuffer(self._buffer, np.uint8)
        self._at = 0
        self._filled = 0

    def read(self, rows: int, seconds: float) -> Block:
        """The next packets, one at least: at most `rows`, for about `seconds`, never beyond the last.

        Raises:
            OSError: The connection is lost, or silent for longer than its time limit.
        """
        self._make_room()
        until = time.monotonic() + seconds
        ends = np.empty(0, np.int64)
        while True:
            self._take_what_came()
            ends = np.concatenate([ends, self._find(rows - len(ends))])
            if len(ends) == rows or (len(ends) and (self._is_last(ends) or time.monotonic() > until)):
                return self._block(ends)
            if self._filled == self._size:
                return self._block(ends) if len(ends) else self._wide()
            self._filled += self._receive(self._view[self._filled : self._size])

    def _find(self, most: int) -> Places:
        """Where the next packets end that are wholly here, at most so many."""
        at = self._at
        ends = _ends_at_a_glance(self._data, at, self._filled, most)
        if len(ends):
            self._at = int(ends[-1])
            if len(ends) == most or self._is_last(ends, at):
                return ends
        return np.concatenate([ends, self._step(most - len(ends))])

    def _step(self, most: int) -> Places:
        """The same from packet to packet; the one loop that runs once a row."""
        buffer, filled, at = self._buffer, self._filled, self._at
        ends: list[int] = []
        append = ends.append
        for _ in range(most):
            # Bytes of a number are small integers, which Python need not make.
            end = at + _HEADER_BYTES + buffer[at] + (buffer[at + 1] << 8) + (buffer[at + 2] << 16)
            if end > filled:
                break
            append(end)
            start, at = at + _HEADER_BYTES, end
            if end - start <= _LONGEST_EOF and buffer[start] == _EOF:
                break
        self._at = at
        return np.fromiter(ends, np.int64, len(ends))

    def _is_last(self, ends: Places, at: int = 0) -> bool:
        """True when the last of these packets, the first of which begins at `at`, ends the result."""
        start = (int(ends[-2]) if len(ends) > 1 else at) + _HEADER_BYTES
        return _ends_result(self._buffer[start], int(ends[-1]) - start)

    def _block(self, ends: Places) -> Block:
        starts = np.empty_like(ends)
        starts[0] = 0
        starts[1:] = ends[:-1]
        starts += _HEADER_BYTES
        self._expected = int(ends[-1]) + _CHUNK_BYTES
        return Block(self._data, starts, ends)

    def _wide(self) -> Block:
        """The packet at the start of the buffer, which is too small for it."""
        length = _header(self._buffer, 0)[0] & _WHOLE_FRAME
        whole = bytearray(self._view[_HEADER_BYTES : self._filled])
        self._at = self._filled = 0
        whole += self._exactly(length - len(whole))
        while length == _WHOLE_FRAME:
            length = _header(self._exactly(_HEADER_BYTES))[0] & _WHOLE_FRAME
            whole += self._exactly(length)
        data = np.frombuffer(whole, np.uint8)
        return Block(data, np.zeros(1, np.int64), np.array([len(data)], np.int64))

    def _make_room(self) -> None:
        """Move what has come of later packets to the start."""
        rest = self._filled - self._at
        self._view[:rest] = self._view[self._at : self._filled]
        self._at, self._filled = 0, rest

    def _take_what_came(self) -> None:
        """As much as the last block was long, if it comes at once: all is looked at together."""
        if not self._buffered and self._filled < self._expected:
            room = self._view[self._filled : min(self._expected, self._size)]
            self._filled += self._read_ahead(room, _PATIENCE)

    def _exactly(self, length: int) -> bytearray:
        found = bytearray(length)
        filled = 0
        with memoryview(found) as room:
            while filled < length:
                filled += self._receive(room[filled:])
        return found

    def _receive(self, room: memoryview) -> int:
        """Wait until something has come and put it there; returns how much.

        Past the stream's own buffer, once that is empty: what is in it was read together with the columns.
        """
        if self._buffered:
            asked = min(len(room), _CHUNK_BYTES)
            got = self._stream.read1(asked)
            count = len(got)
            room[:count] = got
            self._buffered = count == asked < _CHUNK_BYTES
        else:
            count = self._stream.raw.readinto(room) or 0
        if not count:
            raise ConnectionEndedError
        return count
