"""The cells of a block of rows, column by column, as Arrow arrays of the bytes that the server sent.

A row is its cells one after another, each behind its length: one byte, or a mark and two, three or eight
bytes, or a mark for NULL (https://mariadb.com/kb/en/protocol-data-types/#length-encoded-strings). Where a
cell begins depends on the lengths before it, so numpy steps through all rows at once, a column a step.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from reporthub_dagster.connectors.cell_bytes import Mask, Places, gathered
from reporthub_dagster.connectors.mysql_packets import Block

_NULL = 0xFB
_LENGTH_BYTES = {0xFC: 2, 0xFD: 3, 0xFE: 8}
_TOO_LONG = 2**31
"""No packet is as long as that: the server's own limit is half of it."""


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
    found: list[tuple[Places, Places, Mask | None]] = []
    for _ in range(columns):
        cells = _cells_at(block.data, places)
        found.append(cells)
        places = cells[1]
    # Lengths are never negative, so this also says that no cell lies outside of its row.
    if not np.array_equal(places, block.ends):
        raise MalformedRowError
    memory = pa.py_buffer(block.data)
    return [gathered(memory, *cells) for cells in found]


def empty_cells(columns: int) -> list[pa.Array]:
    """The columns of no row."""
    return [pa.array([], pa.binary())] * columns


def _cells_at(data: npt.NDArray[np.uint8], places: Places) -> tuple[Places, Places, Mask | None]:
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
