"""The embedded fonts of a pdf: which characters they have, how wide they are, what stands for the others.

A typeface is a chain of fonts: Noto Sans, then DejaVu's symbols for what it lacks. Scripts that need shaping
or run from right to left, East Asian ones and emoji are in neither: each such character is shown as
`REPLACEMENT`, and `printable` says that it happened.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from functools import cache, cached_property, lru_cache
from itertools import groupby
from pathlib import Path

from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont

REPLACEMENT = "\ufffd"

_FOLDER = Path(__file__).parent / "fonts"
_SYMBOLS = "DejaVuSansCondensed-Symbols"
_SHORT = 64
_INVISIBLE = ("Cf", "Mn")


class _Font:
    """One font file, known to reportlab under its own name."""

    def __init__(self, name: str) -> None:
        self.name = name
        font = TTFont(name, str(_FOLDER / f"{name}.ttf"), shapable=False)
        pdfmetrics.registerFont(font)
        face = font.face
        self.widths: dict[str, float] = {
            chr(code): face.charWidths.get(code, face.defaultWidth) / 1000
            for code in face.charToGlyph
            if not unicodedata.category(chr(code)).startswith("C")
        }


@cache
def _font(name: str) -> _Font:
    return _Font(name)


class Typeface:
    """One weight of the document's type; all measures are for a size of one point."""

    def __init__(self, name: str) -> None:
        self._main = _font(name)
        self._short_width: Callable[[str], float] = lru_cache(maxsize=16_384)(self._width)

    @property
    def name(self) -> str:
        """Name under which reportlab knows the main font."""
        return self._main.name

    def printable(self, text: str) -> tuple[str, bool]:
        """One line as the fonts can show it, and whether a character was replaced.

        Tabs become spaces; marks that only steer direction, joining or hyphenation are left out.
        """
        if not text.isascii():
            text = unicodedata.normalize("NFC", text)
        if self._main.widths.keys() >= set(text):
            return text, False
        shown = "".join(map(self._character, text))
        return shown, shown.count(REPLACEMENT) > text.count(REPLACEMENT)

    def width(self, text: str) -> float:
        """Width of a printable line."""
        return self._short_width(text) if len(text) <= _SHORT else self._width(text)

    def runs(self, text: str) -> list[tuple[str, str]]:
        """A printable line as pieces of (font name, text), each in a font that has its characters."""
        main = self._main.widths
        if main.keys() >= set(text):
            return [(self._main.name, text)]
        parts = groupby(text, key=main.__contains__)
        return [(self._main.name if in_main else _SYMBOLS, "".join(part)) for in_main, part in parts]

    def _character(self, character: str) -> str:
        if character in self._main.widths or character in self._symbols:
            return character
        if character == "\t":
            return "    "
        return "" if unicodedata.category(character) in _INVISIBLE else REPLACEMENT

    def _width(self, text: str) -> float:
        main = self._main.widths
        if main.keys() >= set(text):
            return sum(map(main.__getitem__, text))
        return sum(main[one] if one in main else self._symbols[one] for one in text)

    @cached_property
    def _symbols(self) -> dict[str, float]:
        return _font(_SYMBOLS).widths


@cache
def regular() -> Typeface:
    """For what is read."""
    return Typeface("NotoSans-SemiCondensed")


@cache
def semibold() -> Typeface:
    """For headings."""
    return Typeface("NotoSans-SemiCondensedSemiBold")
