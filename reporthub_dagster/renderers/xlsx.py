"""Excel workbooks: typed cells, a frozen header with filters, more sheets when one is full.

The XML of a sheet is built slice by slice with Arrow and deflated as it comes; nothing else is kept. What a
cell becomes is in `xlsx_cells` and `xlsx_text`. NULL is a blank cell, the empty string an empty text. Text is
never a formula, a link or a number; it ends at 32,767 UTF-16 code units, with a remark. Title and window are
document properties, and lines above the table on demand; when rows were cut, a last sheet says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import BinaryIO

import pyarrow as pa
import pyarrow.types as pt

from reporthub_dagster.renderers.base import Remarks, Renderer, RenderRequest, Section
from reporthub_dagster.renderers.captions import cut_caption, rows_caption, window_caption
from reporthub_dagster.renderers.cells import TEXT, is_numeric, joined, literal, text_bytes
from reporthub_dagster.renderers.formatting import Look, display_texts, look_of, note_unused_patterns
from reporthub_dagster.renderers.options import RenderOptions, read_options
from reporthub_dagster.renderers.totals import LABEL, Totals
from reporthub_dagster.renderers.xlsx_columns import Cells, SheetColumn, text_cell
from reporthub_dagster.renderers.xlsx_package import Package
from reporthub_dagster.renderers.xlsx_parts import (
    DECLARATION,
    MAIN,
    app_properties,
    content_types,
    core_properties,
    package_relationships,
    workbook,
    workbook_relationships,
)
from reporthub_dagster.renderers.xlsx_sheet import (
    SHEET_COLUMNS,
    Captions,
    SheetFrame,
    letters,
    rows_above,
    sheet_name,
)
from reporthub_dagster.renderers.xlsx_styles import Style, Styles
from reporthub_dagster.reporting.errors import PermanentError

SHEET_ROWS = 1_048_576
_SAMPLE_ROWS = 200
_WIDTHS = (8, 60)
_LINE_HEIGHT, _MOST_LINES = 15, 12


class XlsxRenderer(Renderer):
    """An Excel workbook."""

    format = "xlsx"
    extension = "xlsx"
    media_type = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
    holds_sections = True
    honours = frozenset(
        {"header", "null", "date_format", "datetime_format", "column_formats", "title", "window", "totals"}
        | {"sheet_name", "paper", "orientation"}
    )

    def write(self, request: RenderRequest, file: BinaryIO) -> tuple[str, ...]:
        """Write the workbook; remarks name columns whose text was cut."""
        options = read_options(request.options)
        most = max(len(section.columns) for section in request.sections)
        if most > SHEET_COLUMNS:
            raise PermanentError(f"an Excel sheet has {SHEET_COLUMNS:,} columns, not {most:,}")
        book = _Book(file, request, options)
        for section in request.sections:
            book.add(section)
        book.close()
        return book.remarks.sentences()


class _Book:
    """A workbook that grows section by section."""

    def __init__(self, file: BinaryIO, request: RenderRequest, options: RenderOptions) -> None:
        self.remarks = Remarks()
        self._package = Package(file)
        self._request = request
        self._options = options
        self._look = look_of(request, options)
        self._styles = Styles()
        self._names: list[str] = []
        self._defined: list[tuple[str, int, str]] = []

    def add(self, section: Section) -> None:
        """Write the rows of a section to as many sheets as they need."""
        note_unused_patterns(section.fields, self._look, self.remarks)
        totals = Totals(section.fields, self._options.totals, self.remarks)
        slices = _Slices(section)
        columns = self._columns(section)
        for frame in self._frames(section, columns, has_total=bool(totals)):
            self._defined += frame.defined_names(len(self._names) - 1)
            rows = _Rows(frame, slices, totals, self._styles)
            self._package.add(f"xl/worksheets/sheet{len(self._names)}.xml", rows.xml())

    def close(self) -> None:
        """Write what stands around the sheets."""
        if self._request.truncated:
            self._add_note()
        comments = cut_caption(self._request.row_count) if self._request.truncated else ""
        properties = core_properties(
            title=self._request.title,
            subject=window_caption(self._request.window),
            comments=comments,
            created=self._request.window.end,
        )
        parts = {
            "[Content_Types].xml": content_types(len(self._names)),
            "_rels/.rels": package_relationships(),
            "xl/workbook.xml": workbook(self._names, self._defined),
            "xl/_rels/workbook.xml.rels": workbook_relationships(len(self._names)),
            "xl/styles.xml": self._styles.part(),
            "docProps/core.xml": properties,
            "docProps/app.xml": app_properties(),
        }
        for name, text in parts.items():
            self._package.add(name, [text.encode()])
        self._package.close()

    def _columns(self, section: Section) -> tuple[SheetColumn, ...]:
        widths = _widths(section, self._look, self._options.totals)
        return tuple(
            SheetColumn(field, width, self._look, self._options.null, self._styles, self.remarks)
            for field, width in zip(section.fields, widths, strict=True)
        )

    def _frames(
        self, section: Section, columns: tuple[SheetColumn, ...], *, has_total: bool
    ) -> Iterator[SheetFrame]:
        options, title = self._options, section.name or self._request.title
        captions: Captions = (("title", title),) if options.title else ()
        if options.window:
            captions += (("caption", window_caption(self._request.window)),)
        room = SHEET_ROWS - rows_above(captions, has_header=options.header)
        left = section.row_count
        while True:
            rows = min(left, room)
            left -= rows
            ends = not left and rows + has_total <= room
            self._names.append(sheet_name(section.name or options.sheet_name or title, self._names))
            yield SheetFrame(
                name=self._names[-1],
                captions=captions,
                has_header=options.header,
                columns=columns,
                rows=rows,
                has_total=has_total and ends,
                paper=options.paper,
                orientation=options.orientation,
            )
            if ends:
                return

    def _add_note(self) -> None:
        request = self._request
        lines = [("Report", request.title), ("Window", window_caption(request.window))]
        for section in request.sections:
            if section.truncated:
                lines += [("Sheet", section.name)] if section.name else []
                lines += [
                    ("Rows", rows_caption(section.row_count)),
                    ("Note", cut_caption(section.row_count)),
                ]
        label, plain = self._styles.number(Style(dress="label")), self._styles.number(Style())
        rows = "".join(f"<row>{text_cell(name, label)}{text_cell(text, plain)}</row>" for name, text in lines)
        self._names.append(sheet_name("Note", self._names))
        xml = (
            f'{DECLARATION}<worksheet xmlns="{MAIN}"><sheetPr><pageSetUpPr fitToPage="1"/></sheetPr>'
            f'<dimension ref="A1:B{len(lines)}"/><cols>'
            '<col min="1" max="1" width="12" customWidth="1"/>'
            '<col min="2" max="2" width="80" customWidth="1"/>'
            f'</cols><sheetData>{rows}</sheetData><pageSetup orientation="landscape"/></worksheet>'
        )
        self._package.add(f"xl/worksheets/sheet{len(self._names)}.xml", [xml.encode()])


class _Slices:
    """The rows of a section, handed out in pieces that end where a sheet does."""

    def __init__(self, section: Section) -> None:
        self._batches = section.slices()
        self._rest: pa.RecordBatch | None = None

    def next(self, most: int) -> pa.RecordBatch:
        """The next rows, at most so many."""
        batch = self._rest if self._rest is not None else next(self._batches)
        self._rest = batch.slice(most) if batch.num_rows > most else None
        return batch.slice(0, most)


class _Rows:
    """The XML of one sheet."""

    def __init__(self, frame: SheetFrame, slices: _Slices, totals: Totals, styles: Styles) -> None:
        self._frame = frame
        self._slices = slices
        self._totals = totals
        self._styles = styles

    def xml(self) -> Iterator[bytes | memoryview]:
        """The whole sheet, piece by piece."""
        frame = self._frame
        yield frame.opening(self._styles).encode()
        row = frame.first_row
        while row <= frame.last_row:
            batch = self._slices.next(frame.last_row - row + 1)
            self._totals.add(batch)
            yield text_bytes(self._rows(batch, row))
            row += batch.num_rows
        if frame.has_total:
            yield self._total().encode()
        yield frame.closing().encode()

    def _rows(self, batch: pa.RecordBatch, first: int) -> pa.Array:
        pairs = zip(self._frame.columns, batch.columns, strict=True)
        columns = [column.cells(array) for column, array in pairs]
        numbers = pa.array(range(first, first + batch.num_rows), pa.int32()).cast(TEXT)
        parts: list[pa.Array | pa.Scalar] = [literal('<row r="'), numbers]
        heights = _heights(columns)
        between = '">'
        if heights:
            parts += [literal('"'), _height_attributes(heights, batch.num_rows)]
            between = ">"
        for cells in columns:
            parts += [literal(between + cells.before), cells.texts]
            between = cells.after
        return joined(*parts, literal(f"{between}</row>"))

    def _total(self) -> str:
        frame, texts = self._frame, self._totals.texts()
        cells = []
        for position, column in enumerate(frame.columns):
            number = self._styles.number(replace(column.style, pattern=column.pattern, dress="total"))
            text = texts.get(position)
            if text is not None:
                cells.append(self._sum(position, text, number))
            else:
                cells.append(text_cell(LABEL if not position else "", number))
        return f'<row r="{frame.last_row + 1}">{"".join(cells)}</row>'

    def _sum(self, position: int, text: str, style: int) -> str:
        """A sum that follows the filters, where Excel counts as exactly as we do."""
        frame, letter = self._frame, letters(position + 1)
        column = frame.columns[position]
        if not column.keeps(text):
            return text_cell(text, style)
        formula = f"<f>SUBTOTAL(109,{letter}{frame.first_row}:{letter}{frame.last_row})</f>"
        follows = 0 < frame.rows == self._totals.rows and column.is_all_numbers
        return f'<c s="{style}">{formula if follows else ""}<v>{text}</v></c>'


def _heights(columns: list[Cells]) -> dict[int, int]:
    """Lines of the rows that have more than one; not every program heightens them by itself."""
    heights: dict[int, int] = {}
    for cells in columns:
        for row, lines in cells.lines.items():
            heights[row] = max(heights.get(row, 1), lines)
    return heights


def _height_attributes(heights: dict[int, int], rows: int) -> pa.Array:
    attributes = [""] * rows
    for row, lines in heights.items():
        attributes[row] = f' ht="{_LINE_HEIGHT * min(lines, _MOST_LINES)}" customHeight="1"'
    return pa.array(attributes, TEXT)


def _widths(section: Section, look: Look, totals: tuple[str, ...]) -> list[int]:
    """Widths in characters, from the headers and the first rows."""
    longest = [_characters(name) + 2 for name in section.columns]  # the filter's arrow takes its part
    for batch in section.slices(rows=_SAMPLE_ROWS):
        for position, (array, field) in enumerate(zip(batch.columns, section.fields, strict=True)):
            texts = display_texts(array, field, look).to_pylist()
            widest = max((_characters(text) for text in texts if text), default=0)
            # Excel puts separators between the thousands of a decimal.
            widest += widest // 4 if is_numeric(field) and not pt.is_integer(field.type) else 0
            # A sum has as many digits more as the number of its rows.
            widest += len(str(section.row_count)) if field.name in totals else 0
            longest[position] = max(longest[position], widest)
        break
    least, most = _WIDTHS
    return [min(max(width + 2, least), most) for width in longest]


def _characters(text: str) -> int:
    """Width of the first line; characters of East Asian scripts are two wide."""
    line = text[: _WIDTHS[1]].partition("\n")[0]
    return len(line) + sum(character > "\u2e7f" for character in line)
