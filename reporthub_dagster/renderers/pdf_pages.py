"""Draws the pages of a report: title block, table rows, repeated header, footer with "Page x of y"."""

from __future__ import annotations

import zlib
from datetime import UTC
from typing import Any, BinaryIO

from reportlab.pdfbase.pdfdoc import PDFDictionary, PDFName, PDFStream
from reportlab.pdfgen.canvas import Canvas

from reporthub_dagster.renderers.base import RenderRequest, Section
from reporthub_dagster.renderers.captions import cut_caption, rows_caption, window_caption
from reporthub_dagster.renderers.options import RenderOptions
from reporthub_dagster.renderers.pdf_fonts import Typeface, regular, semibold
from reporthub_dagster.renderers.pdf_layout import GUTTER, MARGIN, Layout, wrap
from reporthub_dagster.renderers.pdf_pen import Pen
from reporthub_dagster.renderers.pdf_shaping import Line

_INK, _MUTED, _WARNING = (0.11, 0.13, 0.17), (0.42, 0.45, 0.50), (0.69, 0.28, 0.04)
_RULE, _HAIRLINE = (0.25, 0.28, 0.33), (0.87, 0.88, 0.90)
_TITLE, _CAPTION, _FOOTER = 18.0, 9.0, 7.5
_LEADING = 1.32
_ROW_PADDING = 3.4
_FOOTER_BASELINE = 26.0
_TOTAL = "total-pages"


class _Paper(Canvas):  # type: ignore[misc]
    """A canvas that packs each page as soon as it is drawn: twenty thousand rows would be 100 MB unpacked."""

    @property
    def document(self) -> Any:
        """What is being made; fonts keep apart what they show in each."""
        return self._doc

    def showPage(self) -> None:  # noqa: N802 - reportlab's name
        super().showPage()
        page = self._doc.Pages.pages[-1]
        packed = zlib.compress(page.stream.encode("latin-1"))
        page.Contents = PDFStream(PDFDictionary({"Filter": PDFName("FlateDecode")}), packed)
        page.stream = None


class Pages:
    """A document that grows row by row.

    Args:
        file: Where the document is written when it is finished.
        request: What the report is.
        options: Which of title, window and header stand above the rows.
    """

    def __init__(self, file: BinaryIO, request: RenderRequest, options: RenderOptions) -> None:
        self._request = request
        self._options = options
        self._number = 0
        self._canvas = _canvas(file, request)
        self._pen = Pen(self._canvas.document)

    def begin(self, section: Section, layout: Layout, right: list[bool]) -> None:
        """Begin a table on a new page.

        Args:
            section: What it is of.
            layout: The page, and where the columns are.
            right: Which columns are aligned to the right.
        """
        if self._number:
            self._close_page()
        self._layout = layout
        self._right = right
        self._header = self._wrapped_header(section.columns)
        self._edges = [MARGIN + sum(layout.widths[:index]) for index in range(len(layout.widths) + 1)]
        self._open_page()
        self._title_block(section)
        self._table_header()

    def add_row(self, cells: list[list[Line]], *, is_total: bool = False) -> None:
        """Draw one row, on a new page when this one is full; a total stands out."""
        leading = self._layout.size * _LEADING
        height = max(map(len, cells)) * leading + 2 * _ROW_PADDING
        if self._y - height < MARGIN:
            self._close_page()
            self._open_page()
            self._table_header()
        self._draw_cells(cells, semibold() if is_total else regular(), _INK)
        self._y -= height
        self._hairlines.append((self._edges[0], self._y, self._edges[-1], self._y))

    def add_remark(self, remark: str) -> None:
        """Draw a sentence below the rows."""
        height = 2 * _CAPTION * _LEADING
        if self._y - height < MARGIN:
            self._close_page()
            self._open_page()
        self._y -= height
        self._write(self._edges[0] + GUTTER, self._y, regular().line(remark), regular(), _CAPTION, _MUTED)

    def finish(self) -> None:
        """Complete the last page and write the document."""
        self._close_page()
        canvas = self._canvas
        canvas.beginForm(_TOTAL)
        canvas.setFillColorRGB(*_MUTED)
        canvas.setFont(regular().name, _FOOTER)
        canvas.drawString(0, 0, str(self._number))
        canvas.endForm()
        canvas.save()

    def _wrapped_header(self, names: tuple[str, ...]) -> list[list[Line]]:
        size, face = self._layout.size, semibold()
        cells = []
        for name, width in zip(names, self._layout.widths, strict=True):
            cells.append(wrap(name, (width - 2 * GUTTER) / size, face)[0])
        return cells

    def _open_page(self) -> None:
        """Go to the top of a new page."""
        self._number += 1
        self._canvas.setPageSize(self._layout.page)
        self._y = self._layout.page[1] - MARGIN
        self._hairlines: list[tuple[float, float, float, float]] = []
        self._pen.begin()

    def _title_block(self, section: Section) -> None:
        room = self._layout.page[0] - 2 * MARGIN
        rows = section.row_count
        title = section.name or self._request.title
        lines = wrap(title, room / _TITLE, semibold())[0][:3] if self._options.title is not False else []
        for line in lines:
            self._y -= _TITLE
            self._write(MARGIN, self._y, line, semibold(), _TITLE, _INK)
            self._y -= _TITLE * (_LEADING - 1)
        window = f"{window_caption(self._request.window)}  ·  " if self._options.window is not False else ""
        captions = [(f"{window}{rows_caption(rows)}", _MUTED)]
        if section.truncated:
            captions.append((cut_caption(rows), _WARNING))
        for text, colour in captions:
            self._y -= _CAPTION * 1.5
            self._write(MARGIN, self._y, regular().line(text), regular(), _CAPTION, colour)
        self._y -= _CAPTION * 2

    def _table_header(self) -> None:
        if not self._options.header:
            return
        leading = self._layout.size * _LEADING
        height = max(map(len, self._header)) * leading + 2 * _ROW_PADDING
        self._draw_cells(self._header, semibold(), _INK, bottom=height)
        self._y -= height
        self._canvas.setStrokeColorRGB(*_RULE)
        self._canvas.setLineWidth(0.8)
        self._canvas.line(self._edges[0], self._y, self._edges[-1], self._y)

    def _draw_cells(
        self, cells: list[list[Line]], face: Typeface, colour: tuple[float, ...], *, bottom: float = 0.0
    ) -> None:
        """Draw a row's cells from the top, or, given its height as `bottom`, down to its lower edge."""
        size = self._layout.size
        leading = size * _LEADING
        for index, lines in enumerate(cells):
            above = bottom - len(lines) * leading - 2 * _ROW_PADDING if bottom else 0.0
            y = self._y - above - _ROW_PADDING - size
            for line in lines:
                x = self._edges[index] + GUTTER
                if self._right[index] or line.from_right:
                    x = self._edges[index + 1] - GUTTER - line.width * size
                self._write(x, y, line, face, size, colour)
                y -= leading

    def _write(
        self, x: float, y: float, line: Line, face: Typeface, size: float, colour: tuple[float, ...]
    ) -> None:
        pen = self._pen
        pen.ink(colour)
        if not line.pieces:
            pen.write(x, y, face.runs(line.text), size)
        for piece in line.pieces:
            pen.write_piece(x, y, piece, size)
            x += piece.width * size

    def _close_page(self) -> None:
        self._footer()
        canvas = self._canvas
        canvas.setStrokeColorRGB(*_HAIRLINE)
        canvas.setLineWidth(0.4)
        canvas.lines(self._hairlines)
        canvas.addLiteral(self._pen.code())
        canvas.showPage()

    def _footer(self) -> None:
        page, face = regular().line(f"Page {self._number} of "), regular()
        self._write(MARGIN, _FOOTER_BASELINE, page, face, _FOOTER, _MUTED)
        # How many there are is known at the end: a form that is filled in then.
        self._canvas.saveState()
        self._canvas.translate(MARGIN + page.width * _FOOTER, _FOOTER_BASELINE)
        self._canvas.doForm(_TOTAL)
        self._canvas.restoreState()
        title = [self._request.title] if self._options.title is not False else []
        window = [window_caption(self._request.window)] if self._options.window is not False else []
        about = "  ·  ".join(title + window)
        lines, _, _ = wrap(about, (self._layout.page[0] - 2 * MARGIN - 120) / _FOOTER, face)
        x = self._layout.page[0] - MARGIN - lines[0].width * _FOOTER
        self._write(x, _FOOTER_BASELINE, lines[0], face, _FOOTER, _MUTED)


def _canvas(file: BinaryIO, request: RenderRequest) -> Any:
    canvas = _Paper(
        file,
        pageCompression=1,
        invariant=1,
        initialFontName=regular().name,
        lang="en",
    )
    # Not the time of writing: the same report is the same bytes.
    made = request.window.end.astimezone(UTC).strftime("D:%Y%m%d%H%M%SZ")
    canvas.setDateFormatter(lambda *_: made)
    canvas.setTitle(request.title)
    canvas.setSubject(window_caption(request.window))
    canvas.setCreator("ReportHub")
    canvas.setAuthor("ReportHub")
    return canvas
