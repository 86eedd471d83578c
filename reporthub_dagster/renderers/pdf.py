"""PDF for reading and printing: title, window, a paged table with its header on every page, page x of y.

Values are written as in csv, without its apostrophes; NULL and the empty string are both blank. The page
lies on its side when the columns are wide, long text wraps and ends after twelve lines with `…`, and stands
at the right of its column where it runs from right to left. Characters that the fonts lack are shown as
`�`. What was cut or replaced is told by column, with the first row.

A document has at most `MOST_ROWS` rows: pages are kept, packed, until the last one is known.
"""

from __future__ import annotations

from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc

from reporthub_dagster.renderers.base import Remarks, Renderer, RenderRequest, Section
from reporthub_dagster.renderers.cells import is_numeric, is_text, literal
from reporthub_dagster.renderers.formatting import (
    Look,
    display_texts,
    display_total,
    look_of,
    note_unused_patterns,
)
from reporthub_dagster.renderers.options import TEXT_OPTIONS, RenderOptions, read_options
from reporthub_dagster.renderers.pdf_fonts import Typeface, regular, semibold
from reporthub_dagster.renderers.pdf_layout import (
    CELL_LINES,
    GUTTER,
    Layout,
    Sample,
    choose_layout,
    wrap,
)
from reporthub_dagster.renderers.pdf_pages import Pages
from reporthub_dagster.renderers.pdf_shaping import Line
from reporthub_dagster.renderers.totals import LABEL, Totals
from reporthub_dagster.reporting.errors import PermanentError

MOST_ROWS = 100_000
_SAMPLE_ROWS = 300
_LACKING = "characters that the pdf's fonts lack are shown as �"
_SHORTENED = f"longer than {CELL_LINES} lines and cut"
_NOTICE = "Some characters of this report are not in the fonts of this document and are shown as �."
_BLANK = [Line("", 0.0)]
_NO_ROWS = "No rows in this window."


class PdfRenderer(Renderer):
    """A document of pages."""

    format = "pdf"
    extension = "pdf"
    media_type = "application/pdf"
    holds_sections = True
    honours = TEXT_OPTIONS | {"header", "title", "window", "totals", "paper", "orientation"}

    def write(self, request: RenderRequest, file: BinaryIO) -> tuple[str, ...]:
        """Write the document; remarks name columns with cut cells or characters without a glyph."""
        options = read_options(request.options)
        if request.row_count > MOST_ROWS:
            raise PermanentError(
                f"a pdf shows at most {MOST_ROWS:,} rows, not {request.row_count:,}: "
                "set output_format to xlsx or csv, or narrow the query"
            )
        document = _Document(file, request, options)
        for section in request.sections:
            document.add(section)
        document.finish()
        return document.remarks.sentences()


class _Document:
    """A document that grows section by section."""

    def __init__(self, file: BinaryIO, request: RenderRequest, options: RenderOptions) -> None:
        self.remarks = Remarks()
        self._request = request
        self._options = options
        self._look = look_of(request, options)
        self._pages = Pages(file, request, options)
        self._is_lacking = False

    def add(self, section: Section) -> None:
        """Draw a section from the top of a new page."""
        note_unused_patterns(section.fields, self._look, self.remarks)
        options = self._options
        layout = choose_layout(_samples(section, self._look), options.paper, options.orientation)
        totals = Totals(section.fields, options.totals, self.remarks)
        columns = [
            _Column(field, width, layout, self._look, options.null)
            for field, width in zip(section.fields, layout.widths, strict=True)
        ]
        self._pages.begin(section, layout, [is_numeric(field) for field in section.fields])
        for batch in section.slices(rows=4096):
            totals.add(batch)
            self._add_rows(columns, batch)
        if totals:
            self._add_total(columns, totals)
        if not section.row_count:
            self._pages.add_remark(_NO_ROWS)
        self._note(section, columns)

    def finish(self) -> None:
        """Complete the document; one that lacks glyphs says so."""
        if self._is_lacking:
            self._pages.add_remark(_NOTICE)
        self._pages.finish()

    def _add_rows(self, columns: list[_Column], batch: pa.RecordBatch) -> None:
        texts = [column.texts(array) for column, array in zip(columns, batch.columns, strict=True)]
        for row in zip(*texts, strict=True):
            self._pages.add_row([column.lines(text) for column, text in zip(columns, row, strict=True)])

    def _add_total(self, columns: list[_Column], totals: Totals) -> None:
        sums = totals.texts()
        cells = [column.total(sums.get(position), position) for position, column in enumerate(columns)]
        self._pages.add_row(cells, is_total=True)

    def _note(self, section: Section, columns: list[_Column]) -> None:
        for column in columns:
            self.remarks.note(column.name, _LACKING, column.replaced, column.first_replaced)
            self.remarks.note(column.name, _SHORTENED, column.shortened, column.first_shortened)
        self._is_lacking |= any(column.replaced for column in columns)
        for title in {self._request.title, section.name}:
            if semibold().lacks(title):
                self.remarks.say_of_title(_LACKING)
                self._is_lacking = True


class _Column:
    """Turns the cells of one column into lines and counts what it had to change."""

    def __init__(self, field: pa.Field, width: float, layout: Layout, look: Look, null: str) -> None:
        self.name = field.name
        self.shortened = self.first_shortened = self.first_replaced = 0
        self._row = 0
        self._field = field
        self._look = look
        self._null = null
        self._limit = (width - 2 * GUTTER) / layout.size
        self._face: Typeface = regular()
        self.replaced = int(semibold().lacks(field.name))

    def texts(self, array: pa.Array) -> list[str]:
        """Cells as text."""
        texts = display_texts(array, self._field, self._look)
        shown: list[str] = pc.fill_null(texts, literal(self._null)).to_pylist()
        return shown

    def lines(self, text: str) -> list[Line]:
        """A cell as lines that fit the column."""
        self._row += 1
        if not text:
            return _BLANK
        lines, replaced, shortened = wrap(text, self._limit, self._face)
        if replaced:
            self.replaced += 1
            self.first_replaced = self.first_replaced or self._row
        if shortened:
            self.shortened += 1
            self.first_shortened = self.first_shortened or self._row
        return lines

    def total(self, text: str | None, position: int) -> list[Line]:
        """The cell below: the sum of the column, or the label of the first one."""
        shown = "" if position else LABEL
        if text is not None:
            shown = display_total(text, self._field, self._look)
        return wrap(shown, self._limit, semibold())[0]


def _samples(section: Section, look: Look) -> list[Sample]:
    fields = section.fields
    first = next(iter(section.slices(rows=_SAMPLE_ROWS)), None)
    columns = first.columns if first is not None else [pa.array([], field.type) for field in fields]
    return [
        Sample(
            field.name,
            [text for text in display_texts(array, field, look).to_pylist() if text],
            is_text(field),
        )
        for field, array in zip(fields, columns, strict=True)
    ]
