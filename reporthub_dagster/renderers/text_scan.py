"""Which texts of a column hold or begin with one of a few ASCII characters: a look at the column's bytes.

A regular expression starts anew for every text. A look at all bytes of a column at once, or at all first
bytes, takes a fifth of the time, and a tenth where there is nothing to find, as in most columns.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt
import pyarrow as pa

_Bytes = npt.NDArray[np.uint8]
_Mask = npt.NDArray[np.bool_]
_Places = npt.NDArray[np.int64]


def empty_or_holding(texts: pa.Array, characters: str) -> pa.Array | None:
    """True where a text is empty or holds one of these ASCII characters; null or None where none does.

    Args:
        texts: large_utf8; a null is not empty.
        characters: Each below U+0080, so that no other character has its byte.
    """
    block, bounds = _block(texts)
    found: _Mask = bounds[1:] == bounds[:-1]
    here = _present(block, characters)
    if here:
        # Texts without a byte have no place of their own among the bytes.
        filled = np.flatnonzero(~found)
        marked = functools.reduce(np.bitwise_or, [block == mark for mark in here]).view(np.uint8)
        found[filled] = np.bitwise_or.reduceat(marked, bounds[filled])
    if texts.null_count:
        found &= texts.is_valid().to_numpy(zero_copy_only=False)
    return _booleans(found) if found.any() else None


def beginning(texts: pa.Array, characters: str) -> pa.Array | None:
    """True where a text begins with one of these ASCII characters; None where none does."""
    data, bounds = _parts(texts)
    if not data.size:
        return None
    first = data.take(bounds[:-1], mode="clip")
    here = _present(first, characters)
    if not here:
        return None
    found = functools.reduce(np.bitwise_or, [first == mark for mark in here]) & (bounds[1:] > bounds[:-1])
    return _booleans(found) if found.any() else None


def holds(texts: pa.Array, character: str) -> bool:
    """True when one of the texts may hold this ASCII character; false when none does."""
    return bool(_present(_block(texts)[0], character))


def holds_controls(texts: pa.Array) -> bool:
    """True when one of the texts may hold a character below a space; false when none does."""
    block, _ = _block(texts)
    return bool(block.size and block.min() < ord(" "))


def replaced(texts: pa.Array, old: str, new: str) -> pa.Array:
    """The texts with one ASCII character in place of another: their bytes are as many as before."""
    validity, offsets, data = texts.buffers()
    found = bytes(data or b"").replace(old.encode(), new.encode())
    return pa.Array.from_buffers(
        texts.type, len(texts), [validity, offsets, pa.py_buffer(found)], texts.null_count, texts.offset
    )


def _block(texts: pa.Array) -> tuple[_Bytes, _Places]:
    """The bytes of these texts alone, and where each begins in them, with the end of the last."""
    data, bounds = _parts(texts)
    return data[int(bounds[0]) : int(bounds[-1])], bounds - bounds[0]


def _parts(texts: pa.Array) -> tuple[_Bytes, _Places]:
    """The bytes of all texts and where each begins, with the end of the last."""
    _, offsets, data = texts.buffers()
    bounds = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    return np.frombuffer(data, np.uint8) if data is not None and data.size else np.empty(0, np.uint8), bounds


def _present(block: _Bytes, characters: str) -> list[int]:
    """Those of these ASCII characters that are among the bytes: C looks for one byte faster than numpy."""
    whole = block.tobytes()
    return [mark for mark in characters.encode() if mark in whole]


def _booleans(mask: _Mask) -> pa.Array:
    bits = pa.py_buffer(np.packbits(mask, bitorder="little"))
    return pa.Array.from_buffers(pa.bool_(), len(mask), [None, bits])
