"""The embedded fonts of a pdf: which characters they have, how wide they are, what stands for the others.

A typeface is a chain of fonts: Noto Sans, then for what it lacks DejaVu's symbols, Arabic and Hebrew,
Droid's Chinese and Japanese, Nanum's Korean, each loaded when a character asks for it. Emoji and the scripts
of South and South-East Asia are in none: each such character is shown as `REPLACEMENT`, and `printable` says
that it happened.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from functools import cache, lru_cache
from itertools import groupby
from pathlib import Path

from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont

from reporthub_dagster.renderers.pdf_scripts import in_visual_order, shaped

REPLACEMENT = "\ufffd"

_FOLDER = Path(__file__).parent / "fonts"
_FALLBACKS = ("DejaVuSansCondensed-More", "DroidSansFallback-CJK", "NanumSquareR")
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


@cache
def _fallback(character: str) -> _Font | None:
    """The first font after the main one that has a character."""
    return next((font for font in map(_font, _FALLBACKS) if character in font.widths), None)


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
        """One line as the fonts can show it, in the order of reading, and whether a character was replaced.

        Arabic letters take the form that their places ask for; tabs become spaces; marks that only steer
        direction, joining or hyphenation, and vowel points, are left out.
        """
        if not text.isascii():
            text = unicodedata.normalize("NFC", text)
        if self._main.widths.keys() >= set(text):
            return text, False
        text = shaped(text)
        shown = "".join(map(self._character, text))
        return shown, shown.count(REPLACEMENT) > text.count(REPLACEMENT)

    def seen(self, lines: list[str]) -> list[str]:
        """The printable lines of one text as they are drawn, from left to right."""
        ordered = in_visual_order(lines)
        # A bracket that is mirrored may be one that no font has.
        return lines if ordered is lines else ["".join(map(self._character, line)) for line in ordered]

    def width(self, text: str) -> float:
        """Width of a printable line."""
        return self._short_width(text) if len(text) <= _SHORT else self._width(text)

    def runs(self, text: str) -> list[tuple[str, str]]:
        """A printable line as pieces of (font name, text), each in a font that has its characters."""
        if self._main.widths.keys() >= set(text):
            return [(self._main.name, text)]
        parts = groupby(text, key=self._home)
        return [(font.name, "".join(part)) for font, part in parts if font is not None]

    def _home(self, character: str) -> _Font | None:
        return self._main if character in self._main.widths else _fallback(character)

    def _character(self, character: str) -> str:
        if self._home(character) is not None:
            return character
        if character == "\t":
            return "    "
        return "" if unicodedata.category(character) in _INVISIBLE else REPLACEMENT

    def _width(self, text: str) -> float:
        main = self._main.widths
        if main.keys() >= set(text):
            return sum(map(main.__getitem__, text))
        homes = ((self._home(one), one) for one in text)
        return sum(font.widths[one] for font, one in homes if font is not None)


@cache
def regular() -> Typeface:
    """For what is read."""
    return Typeface("NotoSans-SemiCondensed")


@cache
def semibold() -> Typeface:
    """For headings."""
    return Typeface("NotoSans-SemiCondensedSemiBold")
