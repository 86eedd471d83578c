"""The font files of a pdf: which characters each has, what its glyphs mean, which file has a character.

reportlab embeds characters, a shaped text is glyphs: a glyph that is no character of its own (a conjunct, a
letter in the form that its place asks for) gets a private one, and the document is told what it means, so
that what is searched for and copied is the text.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from functools import cache, cached_property
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import uharfbuzz
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont

_FOLDER = Path(__file__).parent / "fonts"
_PRIVATE = 0xF0000
_MOST_BMP = 0xFFFF
_PLAIN = ("DejaVuSansCondensed-More", "DroidSansFallback-CJK", "NanumSquareR")
_EMOJI = "NotoEmoji-Regular"
_SCRIPTS = (
    (0x0590, 0x05FF, "NotoSansHebrew-SemiCondensed"),
    (0x0600, 0x077F, "NotoSansArabic-SemiCondensed"),
    (0x0780, 0x07BF, "NotoSansThaana-Regular"),
    (0x08A0, 0x08FF, "NotoSansArabic-SemiCondensed"),
    (0x0900, 0x097F, "NotoSansDevanagari-SemiCondensed"),
    (0x0980, 0x09FF, "NotoSansBengali-SemiCondensed"),
    (0x0A00, 0x0A7F, "NotoSansGurmukhi-SemiCondensed"),
    (0x0A80, 0x0AFF, "NotoSansGujarati-SemiCondensed"),
    (0x0B00, 0x0B7F, "NotoSansOriya-Regular"),
    (0x0B80, 0x0BFF, "NotoSansTamil-SemiCondensed"),
    (0x0C00, 0x0C7F, "NotoSansTelugu-SemiCondensed"),
    (0x0C80, 0x0CFF, "NotoSansKannada-SemiCondensed"),
    (0x0D00, 0x0D7F, "NotoSansMalayalam-SemiCondensed"),
    (0x0D80, 0x0DFF, "NotoSansSinhala-SemiCondensed"),
    (0x0E00, 0x0E7F, "NotoSansThai-SemiCondensed"),
    (0x0E80, 0x0EFF, "NotoSansLao-SemiCondensed"),
    (0x0F00, 0x0FFF, "NotoSerifTibetan-Regular"),
    (0x1000, 0x109F, "NotoSansMyanmar-SemiCondensed"),
    (0x1200, 0x139F, "NotoSansEthiopic-SemiCondensed"),
    (0x1780, 0x17FF, "NotoSansKhmer-SemiCondensed"),
    (0x19E0, 0x19FF, "NotoSansKhmer-SemiCondensed"),
    (0x1CD0, 0x1CFF, "NotoSansDevanagari-SemiCondensed"),
    (0x2D80, 0x2DDF, "NotoSansEthiopic-SemiCondensed"),
    (0xA830, 0xA83F, "NotoSansDevanagari-SemiCondensed"),
    (0xA8E0, 0xA8FF, "NotoSansDevanagari-SemiCondensed"),
    (0xA9E0, 0xA9FF, "NotoSansMyanmar-SemiCondensed"),
    (0xAA60, 0xAA7F, "NotoSansMyanmar-SemiCondensed"),
    (0xAB00, 0xAB2F, "NotoSansEthiopic-SemiCondensed"),
    (0xFB1D, 0xFB4F, "NotoSansHebrew-SemiCondensed"),
    (0xFB50, 0xFEFC, "NotoSansArabic-SemiCondensed"),
)
"""First and last character, in order, and the font that has them."""
_STARTS = [first for first, _, _ in _SCRIPTS]


class EmbeddedFont(TTFont):  # type: ignore[misc]
    """One font file, known to reportlab under its own name."""

    def __init__(self, name: str) -> None:
        super().__init__(name, str(_FOLDER / f"{name}.ttf"), shapable=False)
        pdfmetrics.registerFont(self)
        self.name = name
        self.widths: dict[str, float] = {
            chr(code): self.face.charWidths.get(code, self.face.defaultWidth) / 1000
            for code in self.face.charToGlyph
            if not unicodedata.category(chr(code)).startswith("C")
        }
        self._meanings: WeakKeyDictionary[Any, dict[int, str]] = WeakKeyDictionary()

    @cached_property
    def shaper(self) -> uharfbuzz.Font:
        """The font as the shaping engine knows it."""
        return uharfbuzz.Font(uharfbuzz.Face(uharfbuzz.Blob(self.face._ttf_data)))  # noqa: SLF001 - the file's bytes

    def own_character(self, glyph: int) -> str | None:
        """The character that a glyph is, or None where it is none by itself."""
        codes = self.face.glyphToChar.get(glyph, ())
        return next((chr(code) for code in codes if code < _PRIVATE and chr(code) in self.widths), None)

    def private_character(self, glyph: int) -> str:
        """What stands for a glyph in the text that reportlab is given."""
        code = _PRIVATE + glyph
        if code not in self.face.charToGlyph:
            self.face.charToGlyph[code] = glyph
            advance = self.shaper.get_glyph_h_advance(glyph)
            self.face.charWidths[code] = self.face._pdfScale(advance)  # noqa: SLF001 - as it scales its own
        return chr(code)

    def width(self, character: str) -> float:
        """How far a reader of the document moves on after a character, in ems."""
        return float(self.face.getCharWidth(ord(character))) / 1000

    def say(self, document: Any, character: str, meaning: str) -> None:
        """Tell a document what a private character means; the first time counts."""
        self._meanings.setdefault(document, {}).setdefault(ord(character), meaning)

    def addObjects(self, doc: Any) -> None:  # noqa: N802 - reportlab's name
        """Embed what a document shows, and what characters beyond 16 bits mean: reportlab gets that wrong."""
        state = self.state[doc]
        super().addObjects(doc)
        meanings = self._meanings.pop(doc, {})
        for number, codes in enumerate(state.subsets):
            if max(codes) > _MOST_BMP:
                font = doc.idToObject["BasicFonts"].dict[f"{state.internalName}+{number}"]
                stream = doc.idToObject[font.ToUnicode.name]
                stream.content = _to_unicode([meanings.get(code, chr(code)) for code in codes])


@cache
def embedded(name: str) -> EmbeddedFont:
    """A font, loaded when it is asked for."""
    return EmbeddedFont(name)


@cache
def plain_home(character: str) -> EmbeddedFont | None:
    """The first font after the main one that has a character which needs no shaping."""
    return next((font for font in map(embedded, _PLAIN) if character in font.widths), None)


@cache
def script_home(character: str) -> EmbeddedFont | None:
    """The font of a character's script; else of emoji."""
    place = bisect_right(_STARTS, ord(character)) - 1
    name = _SCRIPTS[place][2] if place >= 0 and ord(character) <= _SCRIPTS[place][1] else _EMOJI
    font = embedded(name)
    return font if character in font.widths else None


def emoji() -> EmbeddedFont:
    """The font of pictures."""
    return embedded(_EMOJI)


def _to_unicode(meanings: list[str]) -> str:
    """A ToUnicode CMap of single bytes: ISO 32000-1, 9.10.3."""
    mapped = [
        f"<{code:02X}> <{text.encode('utf-16-be').hex().upper()}>" for code, text in enumerate(meanings)
    ]
    blocks = [mapped[start : start + 100] for start in range(0, len(mapped), 100)]
    return "\n".join(
        (
            "/CIDInit /ProcSet findresource begin 12 dict begin begincmap",
            "/CIDSystemInfo << /Registry (Adobe) /Ordering (UCS) /Supplement 0 >> def",
            "/CMapName /Adobe-Identity-UCS def /CMapType 2 def",
            f"1 begincodespacerange <00> <{len(meanings) - 1:02X}> endcodespacerange",
            *(f"{len(block)} beginbfchar\n{chr(10).join(block)}\nendbfchar" for block in blocks),
            "endcmap CMapName currentdict /CMap defineresource pop end end",
        )
    )
