"""Excel workbooks: typed cells, a frozen header with filters, more sheets when one is full.

Rows stream through XlsxWriter's constant-memory mode: a scratch file per sheet beside the target, removed
whatever happens. What a cell becomes is in `xlsx_cells`. NULL is a blank cell, the empty string an empty
text. Text is never a formula, a link or a number; it ends at 32,767 UTF-16 code units, with a remark.
Title and window are document properties; when rows were cut, a last sheet says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO
from zoneinfo import ZoneInfo

import pyarrow as pa
from xlsxwriter import Workbook
from xlsxwriter.exceptions import FileCreateError
from xlsxwriter.worksheet import Worksheet

from reporthub_dagster.renderers.base import Remarks, Renderer, RenderRequest, Section
from reporthub_dagster.renderers.captions import cut_caption, rows_caption, window_caption
from reporthub_dagster.renderers.cells import TextStyle, cell_texts, is_numeric
from reporthub_dagster.renderers.options import Options, read_options
from reporthub_dagster.renderers.xlsx_cells import Cells, sheet_cells
from reporthub_dagster.reporting.errors import PermanentError
from reporthub_dagster.storage.atomic import TEMPORARY_SUFFIX

SHEET_ROWS = 1_048_576
_SHEET_COLUMNS = 16_384
_SAMPLE_ROWS = 200
_WIDTHS = (8, 60)
_LINE_HEIGHT, _MOST_LINES = 15, 12
_CUT = -2
"""What XlsxWriter answers when it has cut a text."""
_TOO_LONG = "longer than the 32,767 characters of an Excel cell and cut"
_OPTIONS = {
    "constant_memory": True,
    "strings_to_formulas": False,
    "strings_to_numbers": False,
    "strings_to_urls": False,
    "use_zip64": True,
}
_HEADER = {"bold": True, "bg_color": "#F2F4F7", "bottom": 1, "bottom_color": "#98A2B3"}


class XlsxOptions(Options):
    """`parameters.format` of an xlsx report: nothing to choose yet."""


class XlsxRenderer(Renderer):
    """An Excel workbook."""

    format = "xlsx"
    extension = "xlsx"
    media_type = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
    holds_sections = True

    def write(self, request: RenderRequest, file: BinaryIO) -> tuple[str, ...]:
        """Write the workbook; remarks name columns whose text was cut."""
        read_options(XlsxOptions, request.options, renderer=self.format)
        most = max(len(section.columns) for section in request.sections)
        if most > _SHEET_COLUMNS:
            raise PermanentError(f"an Excel sheet has {_SHEET_COLUMNS:,} columns, not {most:,}")
        remarks = Remarks()
        with _workbook(file) as book:
            book.set_properties(_properties(request))
            for section in request.sections:
                sheets = _Sheets(book, request, section, remarks)
                for batch in section.slices(rows=4096):
                    sheets.write(batch)
                sheets.finish()
            for section in request.sections:
                if section.truncated:
                    _write_note(book, request, section)
        return remarks.sentences()


class _Sheet(Worksheet):  # type: ignore[misc]
    """A worksheet that writes any text as that text.

    XlsxWriter's own escaping does not see the second of two escapes that share an underscore
    (`_x0041_x0042_`), and it takes a text `<r>…</r>` for formatting and writes it as XML.
    """

    _SPECIAL = re.compile("_(?=x[0-9a-fA-F]{4}_)|[\x00-\x08\x0b-\x1f\ufffe\uffff]")

    @staticmethod
    def _escape_control_characters(data: str | int) -> str | int:
        if not isinstance(data, str):  # a boolean's 0 or 1 comes this way, too
            return data
        return _Sheet._SPECIAL.sub(lambda found: f"_x{ord(found[0]):04X}_", data)

    def _xml_rich_inline_string(self, string: str, attributes: Any = None) -> None:
        self._xml_inline_string(string, False, attributes)  # it has no white space at its ends


@contextmanager
def _workbook(file: BinaryIO) -> Iterator[Workbook]:
    """A workbook that is written to `file` at the end, its scratch files gone whatever happens."""
    folder = Path(file.name).parent
    with TemporaryDirectory(dir=folder, prefix=".", suffix=TEMPORARY_SUFFIX) as scratch:
        book = Workbook(file, _OPTIONS | {"tmpdir": scratch})
        book.worksheet_class = _Sheet
        try:
            yield book
            book.close()
        except FileCreateError as failed:
            raise failed.args[0] from None
        finally:
            for sheet in book.worksheets():
                with suppress(OSError):
                    sheet._opt_close()  # noqa: SLF001 - after an error nothing else closes the scratch file


class _Sheets:
    """Writes rows to a sheet and opens the next when it is full."""

    def __init__(self, book: Workbook, request: RenderRequest, section: Section, remarks: Remarks) -> None:
        self._remarks = remarks
        self._book = book
        self._title = section.name or request.title
        self._names = section.columns
        self._fields = section.fields
        self._style = TextStyle(ZoneInfo(request.window.timezone))
        self._widths = _widths(section, self._style)
        self._formats: dict[tuple[str, str], Any] = {}
        self._align = ["right" if is_numeric(field) else "left" for field in self._fields]
        self._wrapped = book.add_format({"text_wrap": True, "valign": "top"})
        self._row = 0
        self._lines = 1
        self._open()

    def write(self, batch: pa.RecordBatch) -> None:
        columns = zip(batch.columns, self._fields, strict=True)
        cells = [sheet_cells(array, field, self._style) for array, field in columns]
        for index in range(batch.num_rows):
            if self._row == SHEET_ROWS:
                self.finish()
                self._open()
            self._write_row(cells, index)
            self._row += 1

    def finish(self) -> None:
        """Complete the current sheet."""
        self._sheet.autofilter(0, 0, self._row - 1, len(self._names) - 1)

    def _open(self) -> None:
        taken = [sheet.get_name() for sheet in self._book.worksheets()]
        sheet = self._sheet = self._book.add_worksheet(sheet_name(self._title, taken))
        header = {
            "left": self._book.add_format(_HEADER),
            # Indented: the filter's button covers the right end.
            "right": self._book.add_format(_HEADER | {"align": "right", "indent": 2}),
        }
        sheet.freeze_panes(1, 0)
        sheet.repeat_rows(0)
        sheet.set_landscape()
        sheet.fit_to_pages(1, 0)
        # Long numbers are text on purpose: no green triangles.
        sheet.ignore_errors({"number_stored_as_text": f"A1:XFD{SHEET_ROWS}"})
        for position, (name, width) in enumerate(zip(self._names, self._widths, strict=True)):
            sheet.set_column(position, position, width, self._format(position))
            sheet.write_string(0, position, name, header[self._align[position]])
        self._row = 1

    def _write_row(self, columns: list[Cells], index: int) -> None:
        sheet, row = self._sheet, self._row
        self._lines = 1
        for position, cells in enumerate(columns):
            number = cells.numbers[index]
            if number is None:
                text = cells.texts[index]
                if text is not None:
                    self._write_text(position, text)
            elif isinstance(number, bool):
                sheet.write_boolean(row, position, number)
            else:
                pattern = cells.formats if isinstance(cells.formats, str) else cells.formats[index]
                sheet.write_number(row, position, number, self._format(position, pattern))

    def _write_text(self, position: int, text: str) -> None:
        form = None
        if "\n" in text:
            form = self._wrapped
            self._make_room(text, self._widths[position])
        if self._sheet.write_string(self._row, position, text, form) == _CUT:
            self._remarks.note(self._names[position], _TOO_LONG)

    def _make_room(self, text: str, width: int) -> None:
        """Heighten the row for a text of several lines; not every program does so by itself."""
        lines = sum(1 + len(line) // width for line in text[:2000].split("\n"))
        if lines > self._lines:
            self._lines = lines
            self._sheet.set_row(self._row, _LINE_HEIGHT * min(lines, _MOST_LINES))

    def _format(self, position: int, pattern: str = "") -> Any:
        key = pattern, self._align[position]
        found = self._formats.get(key)
        if found is None:
            properties = {"align": key[1], "indent": int(key[1] == "right"), "valign": "top"}
            found = self._formats[key] = self._book.add_format(
                properties | ({"num_format": pattern} if pattern else {})
            )
        return found


def sheet_name(title: str, taken: list[str]) -> str:
    """A name that Excel accepts: at most 31 UTF-16 code units, no character it forbids, not yet taken."""
    base = " ".join(re.sub(r"[\[\]:*?/\\\x00-\x1f\ufffe\uffff]", " ", title).split()).strip("' ")
    if not base or base.lower() == "history":  # Excel keeps that name for itself
        base = "Report"
    lower = [name.lower() for name in taken]
    name, count = _first_units(base, 31), 1
    while name.lower() in lower:
        count += 1
        suffix = f" ({count})"
        name = _first_units(base, 31 - len(suffix)) + suffix
    return name


def _first_units(text: str, units: int) -> str:
    return text.encode("utf-16-le")[: 2 * units].decode("utf-16-le", "ignore").strip("' ")


def _properties(request: RenderRequest) -> dict[str, Any]:
    return {
        "title": request.title,
        "subject": window_caption(request.window),
        "author": "ReportHub",
        "comments": cut_caption(request.row_count) if request.truncated else "",
        # Not the time of writing: the same report is the same bytes.
        "created": request.window.end.astimezone(UTC).replace(tzinfo=None),
    }


def _widths(section: Section, style: TextStyle) -> list[int]:
    """Widths in characters, from the headers and the first rows."""
    longest = [_characters(name) + 2 for name in section.columns]  # the filter's arrow takes its part
    for batch in section.slices(rows=_SAMPLE_ROWS):
        for position, (array, field) in enumerate(zip(batch.columns, section.fields, strict=True)):
            texts = cell_texts(array, field, style).to_pylist()
            longest[position] = max([longest[position], *(_characters(text) for text in texts if text)])
        break
    least, most = _WIDTHS
    return [min(max(width + 2, least), most) for width in longest]


def _characters(text: str) -> int:
    """Width of the first line; characters of East Asian scripts are two wide."""
    line = text[: _WIDTHS[1]].partition("\n")[0]
    return len(line) + sum(character > "\u2e7f" for character in line)


def _write_note(book: Workbook, request: RenderRequest, section: Section) -> None:
    taken = [sheet.get_name() for sheet in book.worksheets()]
    sheet = book.add_worksheet(sheet_name("Note", taken))
    bold = book.add_format({"bold": True})
    lines = {
        "Report": request.title,
        "Window": window_caption(request.window),
        "Rows": rows_caption(section.row_count),
        "Note": cut_caption(section.row_count),
    }
    sheet.set_column(0, 0, 12)
    sheet.set_column(1, 1, 80)
    for row, (label, text) in enumerate(lines.items()):
        sheet.write_string(row, 0, label, bold)
        sheet.write_string(row, 1, text)
