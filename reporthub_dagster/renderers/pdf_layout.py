"""How a table fits a page: orientation, type size, column widths, the lines of a cell."""

from __future__ import annotations

from dataclasses import dataclass

from reportlab.lib.pagesizes import A3, A4, LETTER

from reporthub_dagster.renderers.options import Orientation, Paper
from reporthub_dagster.renderers.pdf_fonts import Typeface, regular, semibold
from reporthub_dagster.renderers.pdf_shaping import Line
from reporthub_dagster.reporting.errors import PermanentError

MARGIN = 42.0
GUTTER = 5.0
"""Space on either side of a column's text, in points like every measure here."""
CELL_LINES = 12
"""A cell is cut after so many lines, so that a row always fits a page."""

_PAPERS = {"A4": A4, "A3": A3, "Letter": LETTER}
_SIZES = (8.5, 8.0, 7.5, 7.0, 6.5, 6.0)
_WIDEST, _COMFORTABLE, _WIDEST_NUMBER, _WIDEST_WORD, _NARROWEST = 34.0, 18.0, 20.0, 14.0, 3.0
"""In ems: of any column, of one whose text wraps, of what should not wrap, of a word, of any column."""
_READABLE = 7.0
"""Type is made smaller than this only when words would break."""
_STRETCH = 22.0
_CELL_CHARACTERS = 4000
_ELLIPSIS = "…"


@dataclass(frozen=True, slots=True)
class Sample:
    """A column as the first rows show it.

    Attributes:
        texts: Header and cells, as they are.
        wraps: True for text, which may break between words; False for what should stay on one line.
    """

    header: str
    texts: list[str]
    wraps: bool


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything goes.

    Attributes:
        page: Width and height of the page.
        size: Type size of the table.
        widths: Width of each column, gutters included.
    """

    page: tuple[float, float]
    size: float
    widths: tuple[float, ...]


def choose_layout(columns: list[Sample], paper: Paper, orientation: Orientation) -> Layout:
    """The largest type at which columns are comfortable, or else keep words whole; landscape when wide.

    Raises:
        PermanentError: More columns than the page can hold.
    """
    natural = [_natural(column) for column in columns]
    least = [_least(column, width) for column, width in zip(columns, natural, strict=True)]
    page = _page(paper, orientation, sum(natural) * _SIZES[1] + 2 * GUTTER * len(columns))
    room = page[0] - 2 * MARGIN - 2 * GUTTER * len(columns)
    size = _type_size([min(width, _COMFORTABLE) for width in natural], least, room)
    if len(columns) * _NARROWEST * size > room:
        fits = int((page[0] - 2 * MARGIN) / (_NARROWEST * size + 2 * GUTTER))
        raise PermanentError(
            f"a pdf page of {paper} size holds {fits} columns, not {len(columns)}: choose fewer in "
            "parameters.display_columns, a larger parameters.format.paper, or xlsx or csv as output_format"
        )
    return Layout(page, size, tuple(width + 2 * GUTTER for width in _shared(natural, least, size, room)))


def wrap(text: str, limit: float, typeface: Typeface) -> tuple[list[Line], bool, bool]:
    """The lines of a cell.

    Args:
        text: The cell, with its own line breaks.
        limit: Width of the column, for type of one point.
        typeface: What it is set in.

    Returns:
        Lines as they are drawn, whether characters had to be replaced, whether text had to be cut.
    """
    lines: list[Line] = []
    replaced = False
    shortened = len(text) > _CELL_CHARACTERS
    for raw in text[:_CELL_CHARACTERS].replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        found, lost = typeface.lines(raw, limit, CELL_LINES)
        replaced |= lost
        lines += found
        if len(lines) > CELL_LINES:
            shortened = True
            break
    if shortened:
        last = lines[:CELL_LINES][-1]
        lines = [*lines[: CELL_LINES - 1], typeface.line(f"{last.text.rstrip()[:-1]}{_ELLIPSIS}")]
    return lines, replaced, shortened


def _page(paper: Paper, orientation: Orientation, wanted: float) -> tuple[float, float]:
    width, height = _PAPERS[paper]
    if orientation == "landscape" or (orientation == "auto" and wanted > width - 2 * MARGIN):
        return height, width
    return width, height


def _type_size(comfortable: list[float], least: list[float], room: float) -> float:
    for size in _SIZES:
        if size >= _READABLE and sum(map(max, comfortable, least)) * size <= room:
            return size
    return next((size for size in _SIZES if sum(least) * size <= room), _SIZES[-1])


def _natural(column: Sample) -> float:
    """Width of the longest line, as far as a column may grow."""
    lines = (line for text in column.texts for line in text[:200].splitlines())
    longest = max((regular().width(line) for line in lines), default=0.0)
    return min(max(longest, semibold().width(column.header), _NARROWEST), _WIDEST)


def _least(column: Sample, natural: float) -> float:
    """Width at which no word, or no number, breaks."""
    words = (word for text in column.texts for word in (text[:200].split() if column.wraps else [text]))
    longest = max((regular().width(word) for word in words), default=0.0)
    heading = max((semibold().width(word) for word in column.header.split()), default=0.0)
    most = _WIDEST_WORD if column.wraps else _WIDEST_NUMBER
    return min(max(min(longest, most), min(heading, _WIDEST_WORD), _NARROWEST), natural)


def _shared(natural: list[float], least: list[float], size: float, room: float) -> list[float]:
    """Text widths: the least, what is left of the room up to the natural width, then some air."""
    base = sum(least) * size
    if base > room:
        # Not even whole words fit: every column gives up the same part of what it has above the minimum.
        floor = _NARROWEST * size
        scale = (room - floor * len(least)) / max(base - floor * len(least), 1e-9)
        return [floor + (width * size - floor) * scale for width in least]
    wanted = (sum(natural) * size - base) or 1.0
    part = min((room - base) / wanted, 1.0)
    widths = [(low + (high - low) * part) * size for low, high in zip(least, natural, strict=True)]
    air = min((room - sum(widths)) / len(widths), _STRETCH)
    return [width + air for width in widths]
