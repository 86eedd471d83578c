"""PDF for reading and printing: title, window, a paged table with its header on every page, page x of y.

Values are written as in csv, without its apostrophes; NULL and the empty string are both blank. The page
lies on its side when the columns are wide, long text wraps and ends after twelve lines with `…`. Marks that
only steer direction or joining are left out; characters that the fonts lack (East Asian, right-to-left,
emoji) are shown as `�`. What was cut or replaced is told by column.

A document has at most `MOST_ROWS` rows: pages are kept, packed, until the last one is known.
"""

from __future__ import annotations

from typing import BinaryIO
from zoneinfo import ZoneInfo

import pyarrow as pa

from reporthub_dagster.renderers.base import Remarks, Renderer, RenderRequest, Section
from reporthub_dagster.renderers.cells import TextStyle, cell_texts, is_numeric, is_text
from reporthub_dagster.renderers.options import read_options
from reporthub_dagster.renderers.pdf_fonts import Typeface, regular, semibold
from reporthub_dagster.renderers.pdf_layout import (
    CELL_LINES,
    GUTTER,
    Layout,
    Sample,
    choose_layout,
    wrap,
)
from reporthub_dagster.renderers.pdf_pages import Line, Pages
from reporthub_dagster.reporting.errors import PermanentError

MOST_ROWS = 100_000
_SAMPLE_ROWS = 300
_LACKING = "characters that the pdf's fonts lack are shown as �"
_SHORTENED = f"longer than {CELL_LINES} lines and cut"
_NO_ROWS = "No rows in this window."


class PdfRenderer(Renderer):
    """A document of pages."""

    format = "pdf"
    extension = "pdf"
    media_type = "application/pdf"
    holds_sections = True
    honours = frozenset({"paper", "orientation"})

    def write(self, request: RenderRequest, file: BinaryIO) -> tuple[str, ...]:
        """Write the document; remarks name columns with cut cells or characters without a glyph."""
        options = read_options(request.options)
        if request.row_count > MOST_ROWS:
            raise PermanentError(
                f"a pdf shows at most {MOST_ROWS:,} rows, not {request.row_count:,}: "
                "set output_format to xlsx or csv, or narrow the query"
            )
        style = TextStyle(ZoneInfo(request.window.timezone))
        pages = Pages(file, request)
        columns = []
        for section in request.sections:
            layout = choose_layout(_samples(section, style), options.paper, options.orientation)
            columns += _write_section(pages, section, layout, style)
        pages.finish()
        return _remarks(request, columns)


def _write_section(pages: Pages, section: Section, layout: Layout, style: TextStyle) -> list[_Column]:
    pages.begin(section, layout, [is_numeric(field) for field in section.fields])
    columns = [
        _Column(field, width, layout) for field, width in zip(section.fields, layout.widths, strict=True)
    ]
    for batch in section.slices(rows=4096):
        arrays = zip(columns, batch.columns, strict=True)
        texts = [column.texts(array, style) for column, array in arrays]
        for row in zip(*texts, strict=True):
            pages.add_row([column.lines(text) for column, text in zip(columns, row, strict=True)])
    if not section.row_count:
        pages.add_remark(_NO_ROWS)
    return columns


class _Column:
    """Turns the cells of one column into lines and counts what it had to change."""

    def __init__(self, field: pa.Field, width: float, layout: Layout) -> None:
        self.name = field.name
        self.shortened = 0
        self._field = field
        self._limit = (width - 2 * GUTTER) / layout.size
        self._face: Typeface = regular()
        self.replaced = int(self._face.printable(field.name)[1])

    def texts(self, array: pa.Array, style: TextStyle) -> list[str | None]:
        """Cells as text."""
        texts: list[str | None] = cell_texts(array, self._field, style).to_pylist()
        return texts

    def lines(self, text: str | None) -> list[Line]:
        """A cell as lines that fit the column."""
        if not text:
            return [Line("", 0.0)]
        lines, replaced, shortened = wrap(text, self._limit, self._face)
        self.replaced += replaced
        self.shortened += shortened
        return [Line(line, self._face.width(line)) for line in lines]


def _remarks(request: RenderRequest, columns: list[_Column]) -> tuple[str, ...]:
    remarks = Remarks()
    for column in columns:
        remarks.note(column.name, _LACKING, column.replaced)
        remarks.note(column.name, _SHORTENED, column.shortened)
    titles = [request.title, *(section.name for section in request.sections)]
    lacking = any(semibold().printable(title)[1] for title in titles)
    about_title = (f"title: {_LACKING}",) if lacking else ()
    return about_title + remarks.sentences()


def _samples(section: Section, style: TextStyle) -> list[Sample]:
    fields = section.fields
    first = next(iter(section.slices(rows=_SAMPLE_ROWS)), None)
    columns = first.columns if first is not None else [pa.array([], field.type) for field in fields]
    return [
        Sample(
            field.name, [text for text in cell_texts(array, field, style).to_pylist() if text], is_text(field)
        )
        for field, array in zip(fields, columns, strict=True)
    ]
