"""Reads files back with independent readers: the csv module, json, openpyxl, html.parser, pyarrow, pypdf."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow.parquet as pq
from openpyxl.utils.escape import unescape
from pypdf import PdfReader


@dataclass(frozen=True)
class Content:
    """What a reader finds: `header` is None where the format has none without rows."""

    header: list[str] | None
    rows: list[list[Any]]


def read_csv(path: Path, columns: int) -> Content:
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file, strict=True)
    assert all(len(row) == columns for row in rows)
    return Content(header, rows)


def read_json(path: Path, columns: int) -> Content:
    rows = json.loads(path.read_bytes(), parse_float=Decimal)
    assert all(len(row) == columns for row in rows)
    return Content(list(rows[0]) if rows else None, [list(row.values()) for row in rows])


def read_jsonl(path: Path, columns: int) -> Content:
    lines = path.read_bytes().split(b"\n")
    assert lines.pop() == b""
    rows = [json.loads(line, parse_float=Decimal) for line in lines]
    assert all(len(row) == columns for row in rows)
    return Content(list(rows[0]) if rows else None, [list(row.values()) for row in rows])


def read_parquet(path: Path, columns: int) -> Content:
    with pq.ParquetFile(path) as file:
        table = file.read()
    assert table.num_columns == columns
    cells = zip(*(map(_finite, column.to_pylist()) for column in table.columns), strict=True)
    return Content(table.schema.names, [list(row) for row in cells])


def _finite(value: Any) -> Any:
    """What equals itself: NaN does not."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


class _Tables(HTMLParser):
    """Collects the cells of every table of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self._cell: list[str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self._cell = []

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th") and self._cell is not None:
            self.tables[-1][-1].append("".join(self._cell))
            self._cell = None

    def handle_data(self, data: str) -> None:
        if self._cell is not None:
            self._cell.append(data)


def html_tables(path: Path) -> list[list[list[str]]]:
    parser = _Tables()
    parser.feed(path.read_bytes().decode())
    parser.close()
    return parser.tables


def read_html(path: Path, columns: int) -> Content:
    ((header, *rows),) = html_tables(path)
    if rows == [["No rows in this window."]]:
        rows = []
    assert all(len(row) == columns for row in rows)
    return Content(header, rows)


def read_xlsx(path: Path, columns: int) -> Content:
    book = openpyxl.load_workbook(path)
    sheet = book.worksheets[0]
    header, *rows = ([unescaped(cell.value) for cell in row] for row in sheet.iter_rows(max_col=columns))
    book.close()
    return Content(header, rows)


def unescaped(value: Any) -> Any:
    """A cell as Excel and LibreOffice show it: openpyxl leaves `_xHHHH_` of inline text as it is."""
    return unescape(value) if isinstance(value, str) else value


def pdf_lines(path: Path) -> list[list[str]]:
    """The lines of text of each page, in the order in which they were drawn."""
    pages = []
    for page in PdfReader(path).pages:
        lines: list[str] = []
        page.extract_text(visitor_text=lambda text, *_, into=lines: into.append(text.strip("\n")))
        pages.append([line for line in lines if line])
    return pages


def read_pdf(path: Path, columns: int) -> Content:
    """Tables whose first column is `row`, with `r1`, `r2`, …; the lines of a last cell are put together."""
    header: list[str] = []
    rows: list[list[str]] = []
    for lines in pdf_lines(path):
        start = next(index for index, line in enumerate(lines) if re.match("row( |$)", line))
        end = next(index for index, line in enumerate(lines) if line.startswith(("Page ", "Some ")))
        header = lines[start].split(" ")
        for line in lines[start + 1 : end]:
            if re.match(r"r\d+( |$)", line):
                row = line.split(" ", columns - 1)
                rows.append(row + [""] * (columns - len(row)))
            elif rows:
                rows[-1][-1] += line
    return Content(header, rows)


READERS: dict[str, Callable[[Path, int], Content]] = {
    "csv": read_csv,
    "xlsx": read_xlsx,
    "json": read_json,
    "jsonl": read_jsonl,
    "parquet": read_parquet,
    "html": read_html,
    "pdf": read_pdf,
}
