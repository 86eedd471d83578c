"""The styles of a workbook: each look that a cell asks for, once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from xml.sax.saxutils import quoteattr

from reporthub_dagster.renderers.xlsx_parts import DECLARATION, MAIN

Dress = Literal["plain", "header", "total", "title", "caption", "label"]

_FONTS = (
    '<font><sz val="11"/><color rgb="FF1C2129"/><name val="Calibri"/><family val="2"/></font>',
    '<font><b/><sz val="11"/><color rgb="FF1C2129"/><name val="Calibri"/><family val="2"/></font>',
    '<font><b/><sz val="16"/><color rgb="FF1C2129"/><name val="Calibri"/><family val="2"/></font>',
    '<font><sz val="10"/><color rgb="FF667085"/><name val="Calibri"/><family val="2"/></font>',
)
_FILLS = (
    '<fill><patternFill patternType="none"/></fill>',
    '<fill><patternFill patternType="gray125"/></fill>',
    '<fill><patternFill patternType="solid"><fgColor rgb="FFF2F4F7"/></patternFill></fill>',
)
_EDGE = '<{0} style="thin"><color rgb="FF98A2B3"/></{0}>'
_BORDERS = (
    "<border><left/><right/><top/><bottom/><diagonal/></border>",
    f"<border><left/><right/><top/>{_EDGE.format('bottom')}<diagonal/></border>",
    f"<border><left/><right/>{_EDGE.format('top')}<bottom/><diagonal/></border>",
)
_DRESSES: dict[Dress, tuple[int, int, int]] = {
    "plain": (0, 0, 0),
    "header": (1, 2, 1),
    "total": (1, 0, 2),
    "title": (2, 0, 0),
    "caption": (3, 0, 0),
    "label": (1, 0, 0),
}
"""Font, fill and border of each."""
_OWN_FORMATS = 164
"""The numbers below belong to Excel's own formats."""


@dataclass(frozen=True, slots=True)
class Style:
    """How a cell looks.

    Attributes:
        pattern: Its number format; empty is Excel's General.
        left: Aligned to the left, also where a program would put such a value elsewhere.
        right: Aligned to the right.
        indent: Steps from that edge.
        wrapped: Shown in several lines.
    """

    pattern: str = ""
    left: bool = False
    right: bool = False
    indent: int = 0
    wrapped: bool = False
    dress: Dress = "plain"


class Styles:
    """Numbers the styles of a workbook in the order in which they are first asked for."""

    def __init__(self) -> None:
        self._styles: dict[Style, int] = {Style(): 0}
        self._patterns: dict[str, int] = {}

    def number(self, style: Style) -> int:
        """The style's number, as cells name it."""
        if style.pattern:
            self._patterns.setdefault(style.pattern, _OWN_FORMATS + len(self._patterns))
        return self._styles.setdefault(style, len(self._styles))

    def part(self) -> str:
        """`xl/styles.xml`."""
        formats = "".join(
            f'<numFmt numFmtId="{number}" formatCode={quoteattr(pattern)}/>'
            for pattern, number in self._patterns.items()
        )
        return (
            f'{DECLARATION}<styleSheet xmlns="{MAIN}">'
            + (f'<numFmts count="{len(self._patterns)}">{formats}</numFmts>' if formats else "")
            + _listed("fonts", _FONTS)
            + _listed("fills", _FILLS)
            + _listed("borders", _BORDERS)
            + _listed("cellStyleXfs", ('<xf numFmtId="0" fontId="0" fillId="0" borderId="0"/>',))
            + _listed("cellXfs", tuple(map(self._format, self._styles)))
            + _listed("cellStyles", ('<cellStyle name="Normal" xfId="0" builtinId="0"/>',))
            + "</styleSheet>"
        )

    def _format(self, style: Style) -> str:
        font, fill, border = _DRESSES[style.dress]
        number = self._patterns.get(style.pattern, 0)
        side = ' horizontal="right"' if style.right else ' horizontal="left"' if style.left else ""
        indent = f' indent="{style.indent}"' if style.indent else ""
        wrapped = ' wrapText="1"' if style.wrapped else ""
        return (
            f'<xf numFmtId="{number}" fontId="{font}" fillId="{fill}" borderId="{border}" xfId="0"'
            f' applyNumberFormat="{int(number > 0)}" applyFont="1" applyFill="1" applyBorder="1"'
            f' applyAlignment="1"><alignment{side} vertical="top"{indent}{wrapped}/></xf>'
        )


def _listed(name: str, items: tuple[str, ...]) -> str:
    return f'<{name} count="{len(items)}">{"".join(items)}</{name}>'
