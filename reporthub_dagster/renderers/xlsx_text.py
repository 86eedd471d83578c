"""Text as a cell of a workbook holds it: cut at Excel's limit, control characters and markup escaped."""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.compute as pc

from reporthub_dagster.renderers.cells import TEXT

MOST_UNITS = 32_767
"""UTF-16 code units that a cell may have."""
_ANY_SPECIAL = r"[&<>\x00-\x1f]|_x[0-9a-fA-F]{4}_|\x{fffe}|\x{ffff}|^ | $"
_CODED = r"_x[0-9a-fA-F]{4}_|[\x00-\x08\x0b-\x1f]|\x{fffe}|\x{ffff}"
_CODE = re.compile("_(?=x[0-9a-fA-F]{4}_)|[\x00-\x08\x0b-\x1f\ufffe\uffff]")
_MARKUP = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def cut_to_cells(texts: pa.Array) -> tuple[pa.Array, int]:
    """Texts no longer than a cell may be, and how many had to be cut."""
    if (pc.max(pc.binary_length(texts)).as_py() or 0) <= MOST_UNITS:
        return texts, 0
    long = pc.fill_null(pc.greater(pc.binary_length(texts), MOST_UNITS), False)
    found = texts.filter(long).to_pylist()
    kept = [first_units(text, MOST_UNITS) for text in found]
    cut = sum(before != after for before, after in zip(found, kept, strict=True))
    return pc.replace_with_mask(texts, long, pa.array(kept, TEXT)), cut


def escaped_cells(texts: pa.Array) -> tuple[pa.Array, bool]:
    """Texts as XML, and whether there is one whose white space has to be kept.

    What XML cannot hold, and carriage returns, which it does not keep, are `_xHHHH_` (ECMA-376 part 1,
    22.9.2.19); text that looks so begins with the code of its underscore.
    """
    if not pc.any(pc.match_substring_regex(texts, _ANY_SPECIAL)).as_py():
        return texts, False
    coded = pc.fill_null(pc.match_substring_regex(texts, _CODED), False)
    if pc.any(coded).as_py():
        codes = [coded_text(text) for text in texts.filter(coded).to_pylist()]
        texts = pc.replace_with_mask(texts, coded, pa.array(codes, TEXT))
    for sign, entity in _MARKUP.items():
        texts = pc.replace_substring(texts, sign, entity)
    return texts, True


def escaped_cell(text: str) -> str:
    """One text as XML, cut at the limit."""
    coded = coded_text(first_units(text, MOST_UNITS))
    for sign, entity in _MARKUP.items():
        coded = coded.replace(sign, entity)
    return coded


def coded_text(text: str) -> str:
    """What XML cannot hold as `_xHHHH_`."""
    return _CODE.sub(lambda found: f"_x{ord(found[0]):04X}_", text)


def first_units(text: str, units: int) -> str:
    """The beginning of a text, at most so many UTF-16 code units and no half character."""
    return text.encode("utf-16-le")[: 2 * units].decode("utf-16-le", "ignore")
