"""The cells of a block of rows, column by column, as Arrow arrays of the bytes that the server sent.

A row is its cells one after another, each behind its length: one byte, or a mark and two, three or eight
bytes, or a mark for NULL (https://mariadb.com/kb/en/protocol-data-types/#length-encoded-strings). Where a
cell begins depends on the lengths before it, so numpy steps through all rows at once, a column a step.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from reporthub_dagster.connectors.mysql_packets import Block, Places

_NULL = 0xFB
_LENGTH_BYTES = {0xFC: 2, 0xFD: 3, 0xFE: 8}
_TOO_LONG = 2**31
"""No packet is as long as that: the server's own limit is half of it."""

_Offsets = npt.NDArray[np.int32]
_Mask = npt.NDArray[np.bool_]


class MalformedRowError(ValueError):
    """The lengths of the cells do not add up to the packet."""


def cells_of(block: Block, columns: int) -> list[pa.Array]:
    """One binary array for each column, of memory of its own.

    Raises:
        MalformedRowError: See there.
    """
    if not len(block.ends):
        return empty_cells(columns)
    places = block.starts
    found: list[tuple[_Offsets, _Mask | None]] = []
    for _ in range(columns):
        begin, end, nulls = _cells_at(block.data, places)
        # Begin and end by turns: every other value of this array is a cell, those between are gaps.
        bounds = np.empty(2 * len(places), np.int32)
        bounds[0::2], bounds[1::2] = begin, end
        found.append((bounds, nulls))
        places = end
    # Lengths are never negative, so this also says that no cell lies outside of its row.
    if not np.array_equal(places, block.ends):
        raise MalformedRowError
    memory = pa.py_buffer(block.data)
    every_other = np.arange(0, 2 * len(places), 2, dtype=np.int32)
    cells = pa.Array.from_buffers(pa.int32(), len(places), [None, pa.py_buffer(every_other)])
    return [_gathered(memory, bounds, nulls, cells) for bounds, nulls in found]


def empty_cells(columns: int) -> list[pa.Array]:
    """The columns of no row."""
    return [pa.array([], pa.binary())] * columns


def _cells_at(data: npt.NDArray[np.uint8], places: Places) -> tuple[Places, Places, _Mask | None]:
    """Where the cells begin and end whose lengths stand at `places`, and which of them are NULL."""
    first = data.take(places, mode="clip")
    begin = places + 1
    if first.max() < _NULL:
        return begin, begin + first, None
    length = first.astype(np.int64)
    nulls = first == _NULL
    length[nulls] = 0
    for mark, width in _LENGTH_BYTES.items():
        long = np.flatnonzero(first == mark)
        if long.size:
            length[long] = _number(data, begin[long], width)
            begin[long] += width
    return begin, begin + length, nulls


def _number(data: npt.NDArray[np.uint8], places: Places, width: int) -> Places:
    """The little-endian numbers of `width` bytes at `places`."""
    digits = data.take(places[:, np.newaxis] + np.arange(width), mode="clip")
    padded = np.zeros((len(places), 8), np.uint8)
    padded[:, :width] = digits
    numbers: Places = np.minimum(padded.view("<u8")[:, 0], _TOO_LONG).astype(np.int64)
    return numbers


def _gathered(memory: pa.Buffer, bounds: _Offsets, nulls: _Mask | None, cells: pa.Array) -> pa.Array:
    spans = pa.Array.from_buffers(pa.binary(), len(bounds) - 1, [None, pa.py_buffer(bounds), memory])
    taken = spans.take(cells)
    if nulls is None:
        return taken
    valid = pa.py_buffer(np.packbits(~nulls, bitorder="little"))
    return pa.Array.from_buffers(taken.type, len(taken), [valid, *taken.buffers()[1:]])
