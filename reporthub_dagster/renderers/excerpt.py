"""The first rows of a report for the body of a mail: an HTML page and columns of text, of bounded size."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from unicodedata import east_asian_width

from reporthub_dagster.renderers.base import RenderRequest, Section
from reporthub_dagster.renderers.captions import rows_caption, shown_of, window_caption
from reporthub_dagster.renderers.cells import is_numeric
from reporthub_dagster.renderers.formatting import Look, display_texts, look_of
from reporthub_dagster.renderers.html import Page
from reporthub_dagster.renderers.options import read_options
from reporthub_dagster.reporting.excerpt import Excerpt

LARGEST_PAGE = 400_000
"""Bytes of the page; what would be larger shows half as many rows. Mail programs cut long mails."""
_MOST_LINES = 100
_WIDEST = 40
"""Rows and characters of a cell in the text."""


def excerpt_of(request: RenderRequest, rows: int) -> Excerpt:
    """The first `rows` rows of each section, fewer where they would be too large.

    Raises:
        ConfigurationError: A rendering option is not valid.
        PermanentError: A column has no text form.
    """
    options = read_options(request.options)
    page = Page(request, options, excerpt_rows=rows)
    tables = page.tables()
    while len(tables) > LARGEST_PAGE and rows:
        rows //= 2
        page = Page(request, options, excerpt_rows=rows)
        tables = page.tables()
    look = look_of(request, options)
    shown = min(rows, _MOST_LINES)
    heading = (
        request.title if options.title is not False else "",
        window_caption(request.window) if options.window is not False else "",
    )
    texts = (_text_table(section, look, options.null, shown) for section in request.sections)
    parts = filter(None, (", ".join(filter(None, heading)), *texts))
    return Excerpt(page.start(), tables, page.end(), "\n\n".join(parts) + "\n")


def _text_table(section: Section, look: Look, null: str, rows: int) -> str:
    lines = [[field.name for field in section.fields], *islice(_lines(section, look, null, rows), rows)]
    lines = [[_short(cell) for cell in line] for line in lines]
    widths = [max(map(_width, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    right = [is_numeric(field) for field in section.fields]
    aligned = (
        "  ".join(
            f"{' ' * (width - _width(cell))}{cell}" if to_right else f"{cell}{' ' * (width - _width(cell))}"
            for cell, width, to_right in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in lines
    )
    count = rows_caption(section.row_count)
    caption = f"{section.name}: {count}" if section.name else count
    return "\n".join([shown_of(caption, section.row_count, rows), "", *aligned])


def _lines(section: Section, look: Look, null: str, at_once: int) -> Iterator[list[str]]:
    for batch in section.slices(rows=max(at_once, 1)):
        texts = [
            display_texts(array, field, look).to_pylist()
            for array, field in zip(batch.columns, section.fields, strict=True)
        ]
        for line in zip(*texts, strict=True):
            yield [null if cell is None else cell for cell in line]


def _width(cell: str) -> int:
    """Places in a line: the signs of East Asia take two."""
    return sum(2 if east_asian_width(sign) in "WF" else 1 for sign in cell)


def _short(cell: str) -> str:
    line = " ".join(cell.split())
    return line if len(line) <= _WIDEST else f"{line[: _WIDEST - 1]}…"
