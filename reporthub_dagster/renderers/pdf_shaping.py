"""Text that is more than a row of characters: letters that join, stack, change places or run leftward; emoji.

A paragraph is parted into clusters (what a reader takes for one character), each in a font that has all of
it; put in the order of reading (`pdf_bidi`); shaped by HarfBuzz, which also mirrors brackets; and broken
between words, or between clusters where a word is longer than a line.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, groupby
from typing import TypeAlias

import uharfbuzz

from reporthub_dagster.renderers.pdf_bidi import (
    end_of_line,
    in_visual_order,
    paragraph_levels,
    runs_both_ways,
)
from reporthub_dagster.renderers.pdf_embedded import EmbeddedFont, emoji, plain_home, script_home

REPLACEMENT = "\ufffd"
ROUNDING = 1e-6
"""A column as wide as its widest cell must not break it by a rounding error."""

_JOINER = "\u200d"
_EXTENDING = re.compile("[\u200c\u200d\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]")
_PICTURE = re.compile("[\ufe0f\u20e3\U0001f1e6-\U0001f1ff\U0001f3fb-\U0001f3ff]")
_FLAG_LETTER = re.compile("[\U0001f1e6-\U0001f1ff]")
_VARIANT = re.compile("[\u034f\ufe00-\ufe0f\U000e0100-\U000e01ef]")
_VIRAMA = 9
_NOTHING = "\u200b"
_SHORT = 64
_APART = 0.0005


Parts: TypeAlias = tuple[tuple[int, str], ...]
"""Glyphs from left to right, a character for each; before each part, thousandths of an em to move by."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Glyphs of one font that stand on one line.

    Attributes:
        x: Where it begins, from the start of its piece; in ems like `y`, above the baseline.
        meanings: The private characters in it, and what they mean.
    """

    font: EmbeddedFont
    parts: Parts
    x: float
    y: float
    meanings: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a line in one font and direction.

    Attributes:
        reads: Its text, where that is not what its glyphs say one after the other.
        chunks: Its glyphs.
        width: How far the line goes on.
        advances: Positions in its text, and how much of the width is theirs.
    """

    reads: str
    chunks: tuple[Chunk, ...]
    width: float
    advances: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Line:
    """One line as it is drawn.

    Attributes:
        text: In the order of reading.
        width: For type of one point.
        pieces: From left to right; none where the text needs no shaping.
        from_right: Whether its paragraph runs from right to left.
    """

    text: str
    width: float
    pieces: tuple[Piece, ...] = ()
    from_right: bool = False


class Paragraph:
    """A text without line breaks.

    Args:
        text: In the order of reading, in Unicode's normal form C.
        main: The font of whatever it has.

    Attributes:
        replaced: Whether a character was replaced that no font has.
    """

    def __init__(self, text: str, main: EmbeddedFont) -> None:
        parts = [_at_home(cluster, main) for cluster in _clusters(text)]
        self.text = "".join(cluster for cluster, _, _ in parts)
        self.replaced = any(is_replaced for _, _, is_replaced in parts)
        self._fonts = [font for cluster, font, _ in parts for _ in cluster]
        self._ends = list(accumulate(len(cluster) for cluster, _, _ in parts))
        self._base, self._levels = 0, [0] * len(self.text)
        if runs_both_ways(self.text):
            self._base, self._levels = paragraph_levels(self.text)

    def lines(self, limit: float, most: int) -> list[Line]:
        """The first lines, `most` and one more, each at most `limit` wide unless one cluster is wider."""
        whole = self._line(0, len(self.text))
        if whole.width <= limit + ROUNDING:
            return [whole]
        lines: list[Line] = []
        start, reach = 0, self._reach()
        while start < len(self.text) and len(lines) <= most:
            end = self._fitting(start, limit + ROUNDING, reach)
            line = self._line(start, end)
            # Letters at a break take other forms, and may be wider than they were in the middle of a word.
            while line.width > limit + ROUNDING and (fewer := self._cluster_end(start, end - 1)) is not None:
                end = fewer
                line = self._line(start, end)
            lines.append(line)
            start = end + len(self.text[end:]) - len(self.text[end:].lstrip())
        return lines

    def _line(self, start: int, end: int) -> Line:
        text = self.text[start:end]
        levels = (
            end_of_line(text, self._levels[start:end], self._base) if self._base or any(self._levels) else []
        )
        items = list(_items(self._fonts[start:end], levels))
        order = in_visual_order([level for _, _, _, level in items])
        pieces = tuple(
            _shape(text[first:last], font, level % 2 == 1)
            for first, last, font, level in map(items.__getitem__, order)
        )
        return Line(text, sum(piece.width for piece in pieces), pieces, from_right=bool(self._base))

    def _reach(self) -> list[float]:
        """How far the text reaches before each character, as if it stood on one line."""
        widths = [0.0] * len(self.text)
        for first, last, font, level in _items(self._fonts, self._levels):
            for place, advance in _shape(self.text[first:last], font, level % 2 == 1).advances:
                widths[first + place] += advance
        return [0.0, *accumulate(widths)]

    def _fitting(self, start: int, limit: float, reach: list[float]) -> int:
        """The end of the last word that fits a line; else of the last cluster, one at least."""
        most = reach[start] + limit
        ends = [match.end() for match in re.finditer(r"\S(?=\s|$)", self.text[start:])]
        fitting = [start + end for end in ends if reach[start + end] <= most]
        if fitting:
            return fitting[-1]
        inside = [end for end in self._ends if end > start]
        return next((end for end in reversed(inside) if reach[end] <= most), inside[0])

    def _cluster_end(self, start: int, before: int) -> int | None:
        """The end of the last cluster that ends there or before, if any is left after `start`."""
        return next((end for end in reversed(self._ends) if start < end <= before), None)


def _items(fonts: list[EmbeddedFont], levels: list[int]) -> Iterator[tuple[int, int, EmbeddedFont, int]]:
    """What is shaped as one: start, end, font and level."""
    start = 0
    for (font, level), part in groupby(zip(fonts, levels or [0] * len(fonts), strict=True)):
        end = start + len(list(part))
        yield start, end, font, level
        start = end


def _clusters(text: str) -> list[str]:
    """Roughly UAX #29's extended grapheme clusters; a conjunct of letters stays whole."""
    found: list[str] = []
    for character in text:
        if found and (_always_goes_on(character) or _goes_on(found[-1], character)):
            found[-1] += character
        else:
            found.append(character)
    return found


@lru_cache(maxsize=16_384)
def _always_goes_on(character: str) -> bool:
    return unicodedata.category(character).startswith("M") or _EXTENDING.match(character) is not None


def _goes_on(cluster: str, character: str) -> bool:
    last = cluster[-1]
    if _is_bond(last):
        return unicodedata.category(character) == ("So" if last == _JOINER else "Lo")
    return _FLAG_LETTER.match(character) is not None and _FLAG_LETTER.fullmatch(cluster) is not None


@lru_cache(maxsize=16_384)
def _is_bond(character: str) -> bool:
    return character == _JOINER or unicodedata.combining(character) == _VIRAMA


@lru_cache(maxsize=4096)
def _at_home(cluster: str, main: EmbeddedFont) -> tuple[str, EmbeddedFont, bool]:
    """A cluster as it can be shown, its font, and whether something had to be replaced."""
    shown = [one for one in cluster if not _is_invisible(one)]
    if not shown:
        return cluster, main, False
    fonts = [main, *(font for font in (plain_home(shown[0]), script_home(shown[0])) if font is not None)]
    if _PICTURE.search(cluster) or _JOINER in cluster:
        fonts.insert(0, emoji())
    for font in fonts:
        if font.widths.keys() >= set(shown):
            return cluster, font, False
    home = next((font for font in fonts if shown[0] in font.widths), None)
    if home is None:
        return REPLACEMENT, main, cluster != REPLACEMENT
    # A base without one of its marks: what is left is legible, and the loss is told.
    return "".join(one for one in cluster if one in home.widths or _is_invisible(one)), home, True


def _is_invisible(character: str) -> bool:
    return unicodedata.category(character) == "Cf" or _VARIANT.match(character) is not None


def _shape(text: str, font: EmbeddedFont, turned: bool) -> Piece:
    return _shape_short(text, font, turned) if len(text) <= _SHORT else _shape_any(text, font, turned)


def _shape_any(text: str, font: EmbeddedFont, turned: bool) -> Piece:
    """The glyphs of a text, from left to right."""
    buffer = uharfbuzz.Buffer()
    buffer.add_str(text)
    buffer.direction = "rtl" if turned else "ltr"
    buffer.language = "und"  # not the process's locale: the same report is the same bytes
    buffer.guess_segment_properties()
    buffer.flags = uharfbuzz.BufferFlags.REMOVE_DEFAULT_IGNORABLES
    uharfbuzz.shape(font.shaper, buffer)
    glyphs, places = buffer.glyph_infos or [], buffer.glyph_positions or []
    characters, meanings = _characters(text, font, [(info.codepoint, info.cluster) for info in glyphs])
    scale = 1 / font.shaper.face.upem
    drawn: list[_Row] = []
    x = 0.0
    for character, place in zip(characters, places, strict=True):
        left, up = x + place.x_offset * scale, place.y_offset * scale
        if not drawn or abs(drawn[-1].y - up) > _APART:
            drawn.append(_Row(left, up))
        drawn[-1].add(character, left, font.width(character))
        x += place.x_advance * scale
    advances = tuple(
        (info.cluster, place.x_advance * scale) for info, place in zip(glyphs, places, strict=True)
    )
    # Readers put what runs from right to left in order themselves, from the meanings of the glyphs.
    reads = "" if turned or "".join(characters) == text else text
    return Piece(reads, tuple(row.chunk(font, meanings) for row in drawn), x, advances)


_shape_short = lru_cache(maxsize=2048)(_shape_any)


class _Row:
    """Glyphs at one height, as they are added."""

    def __init__(self, x: float, y: float) -> None:
        self.x = self._end = x
        self.y = y
        self._parts: list[tuple[int, list[str]]] = [(0, [])]

    def add(self, character: str, left: float, width: float) -> None:
        """Add a glyph that begins at `left`, after which a reader moves on by `width`."""
        shift = round((left - self._end) * 1000)
        if shift:
            self._parts.append((shift, []))
            self._end += shift / 1000
        self._parts[-1][1].append(character)
        self._end += width

    def chunk(self, font: EmbeddedFont, meanings: dict[str, str]) -> Chunk:
        """The glyphs, and the meanings of those among them that have one."""
        parts = tuple((shift, "".join(text)) for shift, text in self._parts)
        shown = dict.fromkeys("".join(text for _, text in parts))
        return Chunk(
            font, parts, self.x, self.y, tuple((one, meanings[one]) for one in shown if one in meanings)
        )


def _characters(
    text: str, font: EmbeddedFont, glyphs: list[tuple[int, int]]
) -> tuple[list[str], dict[str, str]]:
    """A character for each glyph; the meanings of the private ones: what of the text no other glyph is."""
    starts = sorted({cluster for _, cluster in glyphs})
    ends = dict(zip(starts, [*starts, len(text)][1:], strict=True))
    left = {start: text[start : ends[start]] for start in starts}
    owned: list[str | None] = []
    for glyph, cluster in glyphs:
        own = font.own_character(glyph)
        if own is not None and own in left[cluster]:
            owned.append(own)
            left[cluster] = left[cluster].replace(own, "", 1)
        else:  # a mirrored bracket or the form of a letter at its place is not the character that it means
            owned.append(None)
    meanings: dict[str, str] = {}
    shown = []
    for own, (glyph, cluster) in zip(owned, glyphs, strict=True):
        character = own or font.private_character(glyph)
        if not own:
            meanings.setdefault(character, left.pop(cluster, "") or _NOTHING)
        shown.append(character)
    return shown, meanings
