"""Cells that lie here and there in one piece of memory, gathered into a column.

Copying them makes a column that outlives the memory; Arrow does it without an object for each.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Places = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


def gathered(memory: pa.Buffer, begin: Places, end: Places, nulls: Mask | None) -> pa.Array:
    """A binary array of the bytes between `begin` and `end`, which grow; these are equal where it is null."""
    # Begin and end by turns: every other value of this array is a cell, those between are gaps.
    bounds = np.empty(2 * len(begin), np.int32)
    bounds[0::2], bounds[1::2] = begin, end
    spans = pa.Array.from_buffers(pa.binary(), len(bounds) - 1, [None, pa.py_buffer(bounds), memory])
    taken = pc.array_take(spans, _every_other(len(begin)), boundscheck=False)
    if nulls is None:
        return taken
    return pa.Array.from_buffers(taken.type, len(taken), [validity(nulls), *taken.buffers()[1:]])


def validity(nulls: Mask) -> pa.Buffer:
    """Arrow's bitmap of the values that are not null."""
    return pa.py_buffer(np.packbits(~nulls, bitorder="little"))


def anywhere(data: npt.NDArray[np.uint8], kind: np.dtype[Any]) -> npt.NDArray[Any]:
    """What would stand at every byte of `data`, as a view of it."""
    return np.ndarray((max(len(data) - kind.itemsize + 1, 0),), kind, data, strides=(1,))


@functools.lru_cache(maxsize=4)
def _every_other(cells: int) -> pa.Array:
    places = pa.py_buffer(np.arange(0, 2 * cells, 2, dtype=np.int32))
    return pa.Array.from_buffers(pa.int32(), cells, [None, places])
