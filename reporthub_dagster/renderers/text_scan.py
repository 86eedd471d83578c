"""Which texts of a column hold or begin with one of a few characters, found in the column's bytes.

A regular expression starts anew for every text; most columns have nothing to find, and a look at all their
bytes at once, or at all first bytes, says so in a tenth of the time.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

_Bytes = npt.NDArray[np.uint8]
_Mask = npt.NDArray[np.bool_]
_Places = npt.NDArray[np.int64]


def empty_or_holding(texts: pa.Array, characters: str) -> pa.Array | None:
    """True where a text is empty or holds one of these ASCII characters; null or None where none does.

    Args:
        texts: large_utf8; a null is not empty.
        characters: Each below U+0080, so that no other character has its byte, and without a meaning in a
            class of a regular expression.
    """
    data, bounds = _parts(texts)
    block = data[int(bounds[0]) : int(bounds[-1])]
    if any((block == ord(character)).any() for character in characters):
        return pc.match_substring_regex(texts, f"[{characters}]|^$")
    found: _Mask = bounds[1:] == bounds[:-1]
    if texts.null_count:
        found &= texts.is_valid().to_numpy(zero_copy_only=False)
    return _booleans(found) if found.any() else None


def beginning(texts: pa.Array, characters: str) -> pa.Array | None:
    """True where a text begins with one of these ASCII characters; None where none does."""
    data, bounds = _parts(texts)
    if not data.size:
        return None
    found: _Mask = _table(characters)[data.take(bounds[:-1], mode="clip")] & (bounds[1:] > bounds[:-1])
    return _booleans(found) if found.any() else None


def _parts(texts: pa.Array) -> tuple[_Bytes, _Places]:
    """The bytes of all texts and where each begins, with the end of the last."""
    _, offsets, data = texts.buffers()
    bounds = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    return np.frombuffer(data, np.uint8) if data is not None and data.size else np.empty(0, np.uint8), bounds


def _booleans(mask: _Mask) -> pa.Array:
    bits = pa.py_buffer(np.packbits(mask, bitorder="little"))
    return pa.Array.from_buffers(pa.bool_(), len(mask), [None, bits])


@cache
def _table(characters: str) -> _Mask:
    table = np.zeros(256, np.bool_)
    table[[ord(character) for character in characters]] = True
    return table
