"""Writes the text of pdf pages: the operators of ISO 32000-1, 9.4, each only where it changes something."""

from __future__ import annotations

import re
from typing import Any

from reporthub_dagster.renderers.pdf_embedded import EmbeddedFont
from reporthub_dagster.renderers.pdf_shaping import Chunk, Parts, Piece

_MOST_KNOWN = 8192
_SPECIAL = re.compile(r"[\\()\r]")


class Pen:
    """The text of one page after the other.

    Args:
        document: reportlab's, which keeps what of each font is embedded.
    """

    def __init__(self, document: Any) -> None:
        self._document = document
        self._known: dict[tuple[str, Parts], list[tuple[str, str]]] = {}
        self.begin()

    def begin(self) -> None:
        """Go to a new page."""
        self._code = ["BT"]
        # Cells share colour and font, and saying them again for each is half of the work.
        self._colour: tuple[float, ...] = ()
        self._font = ("", 0.0)

    def ink(self, colour: tuple[float, ...]) -> None:
        """Go on in this colour."""
        if colour != self._colour:
            self._code.append(f"{' '.join(map(str, colour))} rg")
            self._colour = colour

    def write(self, x: float, y: float, runs: list[tuple[EmbeddedFont, str]], size: float) -> None:
        """Write a line: characters one after the other."""
        self._code.append(f"1 0 0 1 {x:.2f} {y:.2f} Tm")
        for font, text in runs:
            self._show(_operators(font, ((0, text),), self._document), size)

    def write_piece(self, x: float, y: float, piece: Piece, size: float) -> None:
        """Write glyphs at their places; if they do not say it, in a span that does: ISO 32000-1, 14.9.4."""
        if piece.reads:
            self._code.append(f"/Span <</ActualText <FEFF{piece.reads.encode('utf-16-be').hex()}>>> BDC")
        for chunk in piece.chunks:
            self._code.append(f"1 0 0 1 {x + chunk.x * size:.2f} {y + chunk.y * size:.2f} Tm")
            self._show(self._encoded(chunk), size)
        if piece.reads:
            self._code.append("EMC")

    def code(self) -> str:
        """What was written on this page."""
        return "\n".join((*self._code, "ET"))

    def _encoded(self, chunk: Chunk) -> list[tuple[str, str]]:
        """The glyphs of a chunk as (font, operator); words come again and again."""
        key = chunk.font.name, chunk.parts
        found = self._known.get(key)
        if found is None:
            if len(self._known) > _MOST_KNOWN:
                self._known.clear()
            for character, meaning in chunk.meanings:
                chunk.font.say(self._document, character, meaning)
            found = self._known[key] = _operators(chunk.font, chunk.parts, self._document)
        return found

    def _show(self, operators: list[tuple[str, str]], size: float) -> None:
        for name, operator in operators:
            if (name, size) != self._font:
                self._code.append(f"{name} {size:g} Tf")
                self._font = name, size
            self._code.append(operator)


def _operators(font: EmbeddedFont, parts: Parts, document: Any) -> list[tuple[str, str]]:
    """What shows the parts of a text, for each of the fonts of 256 characters that reportlab makes of one."""
    found: list[tuple[str, list[str]]] = []
    for shift, text in parts:
        for position, (subset, codes) in enumerate(font.splitString(text, document)):
            name = font.getSubsetInternalName(subset, document)
            if not found or found[-1][0] != name:
                found.append((name, []))
            if shift and not position:
                found[-1][1].append(str(-shift))
            found[-1][1].append(f"({_SPECIAL.sub(_escaped, codes.decode('latin-1'))})")
    return [
        (name, f"{items[0]} Tj" if len(items) == 1 else f"[{' '.join(items)}] TJ") for name, items in found
    ]


def _escaped(match: re.Match[str]) -> str:
    return "\\r" if match[0] == "\r" else f"\\{match[0]}"
