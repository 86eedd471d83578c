"""The packets of a MySQL result, taken from the connection in blocks instead of one by one.

A packet is a payload of up to 16 MiB behind three bytes of length and one of sequence; a longer payload goes
on in the next: https://mariadb.com/kb/en/0-packet/. A row is one packet, so a block is a piece of memory with
the places where its rows begin and end, and nobody makes an object of a row.
"""

from __future__ import annotations

import struct
import time
from dataclasses import dataclass
from io import BufferedReader

import numpy as np
import numpy.typing as npt

BLOCK_BYTES = 4 * 1024 * 1024
"""Bytes of one block; a wider packet is a block of its own."""

_CHUNK_BYTES = 64 * 1024
_HEADER_BYTES = 4
_WHOLE_FRAME = 0xFFFFFF
_EOF, _ERROR = 0xFE, 0xFF
_LONGEST_EOF = 8

Places = npt.NDArray[np.int64]
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


class PacketReader:
    """Reads the packets of one result.

    Args:
        stream: The connection's, at the first packet after the columns.
        block_bytes: Memory to read into; less than 16 MiB.
    """

    def __init__(self, stream: BufferedReader, block_bytes: int = BLOCK_BYTES) -> None:
        self._stream = stream
        self._buffer = bytearray(block_bytes)
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
        ends: list[int] = []
        while True:
            self._find(ends, rows)
            if len(ends) == rows or (ends and (self._is_last(ends) or time.monotonic() > until)):
                return self._block(ends)
            if self._filled == len(self._buffer):
                return self._block(ends) if ends else self._wide()
            self._fill()

    def _find(self, ends: list[int], rows: int) -> None:
        """Append where each packet ends that is wholly here; the one loop that runs once a row."""
        buffer, filled, at, header = self._buffer, self._filled, self._at, _header
        append = ends.append
        for _ in range(rows - len(ends)):
            if at + _HEADER_BYTES > filled:
                break
            end = at + _HEADER_BYTES + (header(buffer, at)[0] & _WHOLE_FRAME)
            if end > filled:
                break
            append(end)
            start, at = at + _HEADER_BYTES, end
            if end - start <= _LONGEST_EOF and buffer[start] == _EOF:
                break
        self._at = at

    def _is_last(self, ends: list[int]) -> bool:
        start = (ends[-2] if len(ends) > 1 else 0) + _HEADER_BYTES
        return _ends_result(self._buffer[start], ends[-1] - start)

    def _block(self, ends: list[int]) -> Block:
        found = np.array(ends, np.int64)
        starts = np.empty_like(found)
        starts[0] = 0
        starts[1:] = found[:-1]
        starts += _HEADER_BYTES
        return Block(self._data, starts, found)

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

    def _fill(self) -> None:
        # Not readinto1: it waits for the socket also when the stream's own buffer holds something.
        room = len(self._buffer) - self._filled
        got = self._stream.read1(min(room, _CHUNK_BYTES))
        if not got:
            raise ConnectionEndedError
        filled = self._filled + len(got)
        self._view[self._filled : filled] = got
        self._filled = filled

    def _exactly(self, length: int) -> bytes:
        found = self._stream.read(length)
        if len(found) < length:
            raise ConnectionEndedError
        return found
