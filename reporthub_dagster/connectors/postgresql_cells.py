"""The cells of a block of rows, column by column, as Arrow arrays.

A row is the number of its cells and then each of them behind its length, -1 for NULL. Numbers and times have
a fixed width, so columns of them that stand side by side are at the same distance from each other in every
row, and are taken out together, as long as none of them is NULL. Else, where a cell begins depends on the
lengths before it, and numpy steps through all rows at once, a column a step.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from reporthub_dagster.connectors.cell_bytes import Mask, Places, anywhere, gathered, validity
from reporthub_dagster.connectors.postgresql_messages import Block

_ROW_HEADER_BYTES = 7
_LENGTH_BYTES = 4


class MalformedRowError(ValueError):
    """The lengths of the cells do not add up to the row."""


class _NullError(Exception):
    """A column was NULL that had not been before."""

    def __init__(self, column: int) -> None:
        super().__init__(column)
        self.column = column


@dataclass(frozen=True, slots=True)
class _Run:
    """Columns that are taken out together, as one record of numpy's.

    Attributes:
        columns: Their positions.
        record: The length (`l0`, `l1`, …) and the value (`v0`, …) of each.
    """

    columns: tuple[int, ...]
    record: np.dtype[Any]


class Layout:
    """How the cells of a result lie in its rows; it learns which columns have NULLs.

    Args:
        stored: The numpy type of each column's values as they are sent; None where they differ in length.
    """

    def __init__(self, stored: Sequence[str | None]) -> None:
        self._stored = [None if kind is None else np.dtype(kind) for kind in stored]
        self._alone: set[int] = set()
        self._pieces = tuple(self._cut())

    def cells_of(self, block: Block) -> list[pa.Array]:
        """One array for each column: of its stored type in this machine's order of bytes, else of binary.

        Raises:
            MalformedRowError: See there.
        """
        while True:
            try:
                return self._cells_of(block, self._pieces)
            except _NullError as found:
                self._alone.add(found.column)
                self._pieces = tuple(self._cut())
            except IndexError:
                break
        try:
            # At the end of the memory, NULLs make a row shorter than what would be taken out together.
            return self._cells_of(block, range(len(self._stored)))
        except IndexError:
            raise MalformedRowError from None

    def _cells_of(self, block: Block, pieces: Iterable[_Run | int]) -> list[pa.Array]:
        places = block.starts + _ROW_HEADER_BYTES
        arrays: dict[int, pa.Array] = {}
        varying: dict[int, tuple[Places, Places, Mask | None]] = {}
        for piece in pieces:
            if isinstance(piece, _Run):
                arrays.update(_taken(block.data, places, piece))
                places = places + piece.record.itemsize
                continue
            begin, places, nulls = _cell_at(block.data, places)
            kind = self._stored[piece]
            if kind is None:
                varying[piece] = begin, places, nulls
            else:
                arrays[piece] = _numbers(block.data, kind, begin, places, nulls)
        # Lengths are never negative, so this also says that no cell lies outside of its row.
        if not np.array_equal(places, block.ends):
            raise MalformedRowError
        memory = pa.py_buffer(block.data)
        arrays.update({column: gathered(memory, *cells) for column, cells in varying.items()})
        return [arrays[column] for column in range(len(self._stored))]

    def _cut(self) -> Iterator[_Run | int]:
        def together(column: int) -> bool:
            return self._stored[column] is not None and column not in self._alone

        for fixed, group in groupby(range(len(self._stored)), together):
            columns = tuple(group)
            yield from (self._run(columns),) if fixed else columns

    def _run(self, columns: tuple[int, ...]) -> _Run:
        fields: list[tuple[str, Any]] = []
        for column in columns:
            fields += [(f"l{column}", ">i4"), (f"v{column}", self._stored[column])]
        return _Run(columns, np.dtype(fields))


def _taken(data: npt.NDArray[np.uint8], places: Places, run: _Run) -> Iterator[tuple[int, pa.Array]]:
    size = run.record.itemsize
    records = anywhere(data, np.dtype(f"V{size}"))[places].view(run.record)
    for column in run.columns:
        values, lengths = records[f"v{column}"], records[f"l{column}"]
        if not (lengths == values.itemsize).all():
            raise _NullError(column) if lengths.min() < 0 else MalformedRowError
        yield column, _native(values, None)


def _cell_at(data: npt.NDArray[np.uint8], places: Places) -> tuple[Places, Places, Mask | None]:
    """Where the cells begin and end whose lengths stand at `places`, and which of them are NULL."""
    sizes = anywhere(data, np.dtype(">i4"))[places]
    begin = places + _LENGTH_BYTES
    if sizes.min() >= 0:
        return begin, begin + sizes, None
    nulls = sizes < 0
    return begin, begin + np.maximum(sizes, 0), nulls


def _numbers(
    data: npt.NDArray[np.uint8], kind: np.dtype[Any], begin: Places, end: Places, nulls: Mask | None
) -> pa.Array:
    if nulls is not None:
        begin = np.where(nulls, 0, begin)
        end = np.where(nulls, kind.itemsize, end)
    if (end - begin != kind.itemsize).any():
        raise MalformedRowError
    values = anywhere(data, np.dtype(f"V{kind.itemsize}"))[begin].view(kind)
    return _native(values, nulls)


def _native(values: npt.NDArray[Any], nulls: Mask | None) -> pa.Array:
    native = values.astype(values.dtype.newbyteorder("="))
    valid = None if nulls is None else validity(nulls)
    return pa.Array.from_buffers(
        pa.from_numpy_dtype(native.dtype), len(native), [valid, pa.py_buffer(native)]
    )
