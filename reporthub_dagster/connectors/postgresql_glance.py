"""Where the rows in a piece of memory end, seen in one look at all of its bytes instead of row by row."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from reporthub_dagster.connectors.cell_bytes import Places, anywhere

ROW = ord("D")
"""The kind of a message that is a row."""

_SCAN_BYTES = 16 * 1024
"""From here on a look at all bytes at once takes less than a step from row to row."""
_PIECE_BYTES = 256 * 1024
"""Bytes that are looked at together, so few that what is found of them stays in a core's cache."""
_HEADER_BYTES = 7
_KIND, _LENGTH, _CELLS = 0, 1, 6
"""Where they stand in a row's header: its kind, its length and the low byte of how many cells it has."""


class Glance:
    """Looks at memory; keeps some of its own to do so."""

    def __init__(self) -> None:
        self._rows = np.empty(_PIECE_BYTES, np.bool_)
        self._alike = np.empty(_PIECE_BYTES, np.bool_)

    def ends(self, here: npt.NDArray[np.uint8], most: int) -> Places:
        """Where rows end that follow each other from the first byte on, as far as they can be seen so.

        A row begins with its kind, and all rows of a result have the same number of cells. Bytes of a value
        may look the same; so what is found is true where each row begins at the end of the one before.

        Args:
            here: What has come. It begins with a message.
            most: So many rows at most.
        """
        if len(here) < _SCAN_BYTES or here[_KIND] != ROW:
            return np.empty(0, np.int64)
        starts = self._alike_ones(here, most)
        ends = _ends(here, starts)
        if not np.array_equal(starts[1:], ends[:-1]):
            starts, ends = _led_to(starts, ends)
        apart = np.flatnonzero(starts[1:] != ends[:-1])
        whole = min(int(apart[0]) + 1 if apart.size else len(ends), most)
        # Rows that follow each other end behind each other: only the last one may not be here.
        return ends[: whole - 1] if ends[whole - 1] > len(here) else ends[:whole]

    def _alike_ones(self, here: npt.NDArray[np.uint8], most: int) -> Places:
        """Places that look as the first row's header does: all of them, or more than `most`."""
        found: list[Places] = []
        beyond = len(here) - _HEADER_BYTES + 1
        for begin in range(0, beyond, _PIECE_BYTES):
            end = min(begin + _PIECE_BYTES, beyond)
            rows, alike = self._rows[: end - begin], self._alike[: end - begin]
            np.equal(here[begin:end], ROW, out=rows)
            np.equal(here[begin + _CELLS : end + _CELLS], here[_CELLS], out=alike)
            np.logical_and(rows, alike, out=rows)
            found.append(rows.nonzero()[0] + begin)
            if sum(map(len, found)) > most:
                break
        return np.concatenate(found)


def _ends(here: npt.NDArray[np.uint8], starts: Places) -> Places:
    """Where rows end that begin there: a length counts itself and what follows."""
    places = starts + _LENGTH
    lengths: npt.NDArray[np.uint32] = anywhere(here, np.dtype(">u4"))[places]
    return places + lengths


def _led_to(starts: Places, ends: Places) -> tuple[Places, Places]:
    """Without those where no row ends: of bytes that only look like a row, none leads there."""
    place = np.searchsorted(starts, ends)
    leads = place[np.append(starts, -1)[place] == ends]
    kept = np.zeros(len(starts), np.bool_)
    kept[0] = kept[leads] = True
    return starts[kept], ends[kept]
