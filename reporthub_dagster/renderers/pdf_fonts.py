"""The type of a pdf: lines of text, and how wide they are.

A typeface is a chain of fonts: Noto Sans, then for what it lacks DejaVu's symbols, Droid's Chinese and
Japanese, Nanum's Korean, a Noto font for each script that needs shaping, and Noto's emoji, each loaded
when a character asks for it. What is in none is shown as `REPLACEMENT`, and `lines` says that it happened.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import cache, lru_cache
from itertools import groupby

from reporthub_dagster.renderers.pdf_bidi import runs_both_ways
from reporthub_dagster.renderers.pdf_embedded import EmbeddedFont, embedded, plain_home, script_home
from reporthub_dagster.renderers.pdf_shaping import REPLACEMENT, ROUNDING, Line, Paragraph

_SHORT = 64


class Typeface:
    """One weight of the document's type; all measures are for a size of one point."""

    def __init__(self, name: str) -> None:
        self._main = embedded(name)
        self._widths = {
            character: width
            for character, width in self._main.widths.items()
            if not unicodedata.category(character).startswith("M")
        }
        self._short_plain_width: Callable[[str], float] = lru_cache(maxsize=16_384)(self._sum)
        self._short_lines = lru_cache(maxsize=2048)(self._shaped_lines)

    @property
    def name(self) -> str:
        """Name under which reportlab knows the main font."""
        return self._main.name

    def width(self, text: str) -> float:
        """Width of a text on one line."""
        return self.line(text).width

    def line(self, text: str) -> Line:
        """A text on one line, however wide it is."""
        return self.lines(text, float("inf"), 1)[0][0]

    def lacks(self, text: str) -> bool:
        """Whether a text has a character that no font has."""
        return self.lines(text, float("inf"), 1)[1]

    def lines(self, text: str, limit: float, most: int) -> tuple[list[Line], bool]:
        """A paragraph in lines of at most `limit`, broken between words where there are any.

        Tabs become spaces; marks that only steer joining or hyphenation are left out where nothing joins.

        Args:
            text: Without line breaks.
            limit: Width of the column.
            most: A text of more lines ends after the line that follows these.

        Returns:
            The lines, and whether a character was replaced that no font has.
        """
        if self._widths.keys() >= set(text):
            return self._plain_lines(text, limit, most), False
        text = unicodedata.normalize("NFC", text.replace("\t", "    "))
        if runs_both_ways(text) or not all(map(_is_plain, set(text) - self._widths.keys())):
            shaped = self._short_lines if len(text) <= _SHORT else self._shaped_lines
            return shaped(text, limit, most)
        shown = "".join(map(self._character, text))
        return self._plain_lines(shown, limit, most), shown.count(REPLACEMENT) > text.count(REPLACEMENT)

    def runs(self, text: str) -> list[tuple[EmbeddedFont, str]]:
        """The text of a line without pieces, in parts each with a font that has its characters."""
        if self._widths.keys() >= set(text):
            return [(self._main, text)]
        parts = groupby(text, key=self._home)
        return [(font, "".join(part)) for font, part in parts if font is not None]

    def _home(self, character: str) -> EmbeddedFont | None:
        return self._main if character in self._widths else plain_home(character)

    def _character(self, character: str) -> str:
        if self._home(character) is not None:
            return character
        return "" if unicodedata.category(character) == "Cf" else REPLACEMENT

    def _plain_width(self, text: str) -> float:
        return self._short_plain_width(text) if len(text) <= _SHORT else self._sum(text)

    def _sum(self, text: str) -> float:
        if self._widths.keys() >= set(text):
            return sum(map(self._widths.__getitem__, text))
        homes = ((self._home(one), one) for one in text)
        return sum(font.widths[one] for font, one in homes if font is not None)

    def _shaped_lines(self, text: str, limit: float, most: int) -> tuple[list[Line], bool]:
        paragraph = Paragraph(text, self._main)
        return paragraph.lines(limit, most), paragraph.replaced

    def _plain_lines(self, text: str, limit: float, most: int) -> list[Line]:
        width = self._plain_width(text)
        if width <= limit + ROUNDING:
            return [Line(text, width)]
        return [Line(line, self._plain_width(line)) for line in self._broken(text, limit + ROUNDING, most)]

    def _broken(self, paragraph: str, limit: float, most: int) -> list[str]:
        lines, line = [], ""
        for word in re.findall(r"\s*\S+|\s+$", paragraph):
            if self._plain_width(line + word) <= limit:
                line += word
                continue
            if line:
                lines.append(line)
            *full, line = self._pieces(word.lstrip() if line or lines else word, limit, most)
            lines += full
            if len(lines) > most:
                break
        return [*lines, line]

    def _pieces(self, word: str, limit: float, most: int) -> list[str]:
        """A word in parts of at most `limit`; one character at least."""
        pieces, piece, width = [], "", 0.0
        for character in word:
            advance = self._plain_width(character)
            if piece and width + advance > limit:
                pieces.append(piece)
                piece, width = "", 0.0
                if len(pieces) > most:
                    break
            piece, width = piece + character, width + advance
        return [*pieces, piece]


@cache
def _is_plain(character: str) -> bool:
    """Whether what the main font lacks needs no shaping: it is in a plain font, or in none."""
    if unicodedata.category(character).startswith("M"):
        return False
    return plain_home(character) is not None or script_home(character) is None


@cache
def regular() -> Typeface:
    """For what is read."""
    return Typeface("NotoSans-SemiCondensed")


@cache
def semibold() -> Typeface:
    """For headings."""
    return Typeface("NotoSans-SemiCondensedSemiBold")
