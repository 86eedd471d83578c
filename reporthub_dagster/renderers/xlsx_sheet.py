"""One sheet: where its header, rows and total stand, and the XML around its rows."""

from __future__ import annotations

import re
from dataclasses import dataclass

from reporthub_dagster.renderers.options import Orientation, Paper
from reporthub_dagster.renderers.xlsx_columns import SheetColumn, text_cell
from reporthub_dagster.renderers.xlsx_parts import DECLARATION, MAIN
from reporthub_dagster.renderers.xlsx_styles import Dress, Style, Styles
from reporthub_dagster.renderers.xlsx_text import first_units

SHEET_COLUMNS = 16_384
_PAPERS: dict[Paper, int] = {"A4": 9, "A3": 8, "Letter": 1}
_TITLE_HEIGHT = 24

Captions = tuple[tuple[Dress, str], ...]


@dataclass(frozen=True, slots=True)
class SheetFrame:
    """The shape of a sheet.

    Attributes:
        captions: Lines above the table, each with its dress.
        has_header: True when the names of the columns stand above their cells.
        rows: Rows of data.
        has_total: True when a row of totals ends it.
    """

    name: str
    captions: Captions
    has_header: bool
    columns: tuple[SheetColumn, ...]
    rows: int
    has_total: bool
    paper: Paper
    orientation: Orientation

    @property
    def first_row(self) -> int:
        """Number of the first row of data."""
        return rows_above(self.captions, has_header=self.has_header) + 1

    @property
    def last_row(self) -> int:
        """Number of the last row of data, or of the header above none."""
        return self.first_row + self.rows - 1

    def opening(self, styles: Styles) -> str:
        """Everything before the rows of data."""
        last = max(self.last_row + self.has_total, 1)
        above = self.first_row - 1
        frozen = (
            f'<pane ySplit="{above}" topLeftCell="A{self.first_row}" activePane="bottomLeft" state="frozen"/>'
            if self.has_header
            else ""
        )
        widths = "".join(
            f'<col min="{number}" max="{number}" width="{column.width}"'
            f' style="{styles.number(column.style)}" customWidth="1"/>'
            for number, column in enumerate(self.columns, start=1)
        )
        return (
            f'{DECLARATION}<worksheet xmlns="{MAIN}">'
            '<sheetPr><pageSetUpPr fitToPage="1"/></sheetPr>'
            f'<dimension ref="A1:{letters(len(self.columns))}{last}"/>'
            f'<sheetViews><sheetView workbookViewId="0">{frozen}</sheetView></sheetViews>'
            f'<sheetFormatPr defaultRowHeight="15"/><cols>{widths}</cols>'
            f"<sheetData>{self._rows_above(styles)}"
        )

    def closing(self) -> str:
        """Everything after the last row."""
        table = f"A{max(self.first_row - 1, 1)}:{letters(len(self.columns))}{max(self.last_row, 1)}"
        filters = f'<autoFilter ref="{table}"/>' if self.has_header else ""
        side = "portrait" if self.orientation == "portrait" else "landscape"
        return (
            f"</sheetData>{filters}"
            '<pageMargins left="0.5" right="0.5" top="0.6" bottom="0.6" header="0.3" footer="0.3"/>'
            f'<pageSetup paperSize="{_PAPERS[self.paper]}" orientation="{side}" fitToHeight="0"/>'
            "<headerFooter><oddFooter>&amp;R&amp;P / &amp;N</oddFooter></headerFooter>"
            # Long numbers are text on purpose: no green triangles.
            '<ignoredErrors><ignoredError sqref="A1:XFD1048576" numberStoredAsText="1"/></ignoredErrors>'
            "</worksheet>"
        )

    def defined_names(self, index: int) -> list[tuple[str, int, str]]:
        """The names that Excel keeps for the header that repeats in print, and for the filters."""
        if not self.has_header:
            return []
        header, last = self.first_row - 1, letters(len(self.columns))
        table = f"$A${header}:${last}${max(self.last_row, header)}"
        return [
            ("_xlnm._FilterDatabase", index, table),
            ("_xlnm.Print_Titles", index, f"${header}:${header}"),
        ]

    def _rows_above(self, styles: Styles) -> str:
        rows = []
        for number, (dress, caption) in enumerate(self.captions, start=1):
            height = f' ht="{_TITLE_HEIGHT}" customHeight="1"' if dress == "title" else ""
            cell = text_cell(caption, styles.number(Style(dress=dress)))
            rows.append(f'<row r="{number}"{height}>{cell}</row>')
        if self.has_header:
            cells = "".join(
                # Indented: the filter's button covers the right end.
                text_cell(
                    column.name,
                    styles.number(
                        Style(right=column.is_numeric, indent=2 * column.is_numeric, dress="header")
                    ),
                )
                for column in self.columns
            )
            rows.append(f'<row r="{self.first_row - 1}">{cells}</row>')
        return "".join(rows)


def rows_above(captions: Captions, *, has_header: bool) -> int:
    """How many rows stand above the data: captions, an empty one, the header."""
    return (len(captions) + 1 if captions else 0) + has_header


def letters(column: int) -> str:
    """The letters of a column: 1 is `A`, 27 is `AA`."""
    text = ""
    while column:
        column, rest = divmod(column - 1, 26)
        text = chr(ord("A") + rest) + text
    return text


def sheet_name(title: str, taken: list[str]) -> str:
    """A name that Excel accepts: at most 31 UTF-16 code units, no character it forbids, not yet taken."""
    base = " ".join(re.sub(r"[\[\]:*?/\\\x00-\x1f\ufffe\uffff]", " ", title).split()).strip("' ")
    if not base or base.lower() == "history":  # Excel keeps that name for itself
        base = "Report"
    lower = [name.lower() for name in taken]
    name, count = first_units(base, 31).strip("' "), 1
    while name.lower() in lower:
        count += 1
        suffix = f" ({count})"
        name = first_units(base, 31 - len(suffix)).strip("' ") + suffix
    return name
