"""HTML: one self-contained page, light and dark, for the browser, for paper and as the body of a mail.

No scripts and nothing from outside. What mail programs keep of a page are attributes and inline styles: these
carry the light look; the style sheet adds the dark one, printing and wrapping. Text is escaped and stays
text; control characters that a page cannot hold are shown as `�`, with a remark. A section shows at most
`MOST_ROWS` rows and says so, in the page and as a remark.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from reporthub_dagster.renderers.base import Remarks, Renderer, RenderRequest, Section
from reporthub_dagster.renderers.captions import cut_caption, rows_caption, shown_of, window_caption
from reporthub_dagster.renderers.cells import is_numeric, is_text, joined, literal, text_bytes
from reporthub_dagster.renderers.formatting import (
    Look,
    display_texts,
    display_total,
    look_of,
    note_unused_patterns,
)
from reporthub_dagster.renderers.html_style import (
    CAPTION,
    CELL,
    HEADER,
    PAGE,
    STYLE_SHEET,
    SUBTITLE,
    TABLE,
    TITLE,
    TOTAL,
    WARNING,
)
from reporthub_dagster.renderers.options import TEXT_OPTIONS, RenderOptions, read_options
from reporthub_dagster.renderers.totals import LABEL, Totals

MOST_ROWS = 10_000
_NO_ROWS = "No rows in this window."
_CONTROL = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\x{fffe}|\x{ffff}"
_REPLACED = "control characters are shown as �"
_SAMPLE_ROWS = 300
_CHARACTER, _READABLE = 0.5, 14.0
"""In ems: about the width of a character; how narrow a column of long text may get."""
_LEFT = ' align="left"'
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"}


class HtmlRenderer(Renderer):
    """A page with a table for each section."""

    format = "html"
    extension = "html"
    media_type = "text/html"
    holds_sections = True
    honours = TEXT_OPTIONS | {"header", "title", "window", "totals"}

    def write(self, request: RenderRequest, file: BinaryIO) -> tuple[str, ...]:
        """Write the page; remarks name sections that were cut and columns with control characters."""
        page = Page(request, read_options(request.options))
        file.writelines(page.pieces())
        return page.remarks.sentences() + page.cuts


class Page:
    """Writes a page piece by piece.

    Args:
        request: What to write.
        options: The request's, read.
        excerpt_rows: How many rows of each section are wanted; None for the whole report.
    """

    def __init__(
        self, request: RenderRequest, options: RenderOptions, excerpt_rows: int | None = None
    ) -> None:
        self.remarks = Remarks()
        self.cuts: tuple[str, ...] = ()
        self._request = request
        self._options = options
        self._look = look_of(request, options)
        self._excerpt_rows = excerpt_rows
        self._most_rows = MOST_ROWS if excerpt_rows is None else excerpt_rows

    def pieces(self) -> Iterator[bytes | memoryview]:
        """The whole page."""
        yield self.start().encode()
        yield from self._tables()
        yield self.end().encode()

    def start(self) -> str:
        """What comes before the title."""
        return (
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            '<meta name="color-scheme" content="light dark">\n'
            f"<title>{_escaped(self._request.title)}</title>\n<style>{STYLE_SHEET}</style>\n</head>\n"
            f'<body style="{PAGE}">\n<main>\n'
        )

    def tables(self) -> str:
        """Title, captions and tables."""
        return b"".join(self._tables()).decode()

    def end(self) -> str:
        """What comes after the tables."""
        return "</main>\n</body>\n</html>\n"

    def _tables(self) -> Iterator[bytes | memoryview]:
        yield self._heading().encode()
        for section in self._request.sections:
            note_unused_patterns(section.fields, self._look, self.remarks)
            yield from self._table(section)

    def _heading(self) -> str:
        title = f'<h1 style="{TITLE}">{_escaped(self._request.title)}</h1>\n'
        parts = [title] if self._options.title is not False else []
        caption = window_caption(self._request.window) if self._options.window is not False else ""
        if len(self._request.sections) == 1:
            rows = self._rows_caption(self._request.row_count)
            caption = f"{caption} · {rows}" if caption else rows
        return "".join([*parts, f'<p style="{CAPTION}">{_escaped(caption)}</p>\n' if caption else ""])

    def _table(self, section: Section) -> Iterator[bytes | memoryview]:
        totals = Totals(section.fields, self._options.totals, self.remarks)
        rows = _Rows(section, self._look, self._options.null, self.remarks)
        yield self._before(section).encode()
        left = self._most_rows
        for batch in section.slices(rows=4096):
            totals.add(batch)
            if left:
                yield text_bytes(rows.of(batch.slice(0, left)))
            left -= min(left, batch.num_rows)
            if not left and not totals:
                break
        if not section.row_count:
            yield f'<tr><td style="{CELL}" colspan="{len(section.columns)}">{_NO_ROWS}</td></tr>\n'.encode()
        yield b"</tbody>\n"
        if totals:
            yield self._total(section, totals).encode()
        yield b"</table>\n</div>\n"

    def _before(self, section: Section) -> str:
        several = len(self._request.sections) > 1
        caption = _escaped(window_caption(self._request.window))
        parts = []
        if several:
            parts.append(
                f'<h2 style="{SUBTITLE}">{_escaped(section.name)}</h2>\n'
                f'<p style="{CAPTION}">{self._rows_caption(section.row_count)}</p>\n'
            )
        parts += [f'<p class="warning" style="{WARNING}">{text}</p>\n' for text in self._warnings(section)]
        title = _escaped(section.name or self._request.title)
        parts.append(
            f'<div class="table"><table cellspacing="0" cellpadding="0" style="{TABLE}"'
            f' aria-label="{title}, {caption}">\n'
        )
        if self._options.header:
            cells = "".join(
                f'<th scope="col"{_side(field) or _LEFT} style="{HEADER}{least}">{_escaped(field.name)}</th>'
                for field, least in zip(section.fields, _least_widths(section), strict=True)
            )
            parts.append(f"<thead>\n<tr>{cells}</tr>\n</thead>\n")
        return "".join([*parts, '<tbody valign="top">\n'])

    def _rows_caption(self, rows: int) -> str:
        caption = rows_caption(rows)
        return caption if self._excerpt_rows is None else shown_of(caption, rows, self._excerpt_rows)

    def _warnings(self, section: Section) -> list[str]:
        warnings = [cut_caption(section.row_count)] if section.truncated else []
        if self._excerpt_rows is None and section.row_count > MOST_ROWS:
            cut = f"This page shows the first {MOST_ROWS:,} of {rows_caption(section.row_count)}."
            self.cuts += (f"{section.name}: {cut}" if section.name else cut,)
            warnings.append(cut)
        return warnings

    def _total(self, section: Section, totals: Totals) -> str:
        texts = totals.texts()
        cells = []
        for position, field in enumerate(section.fields):
            text = texts.get(position)
            shown = display_total(text, field, self._look) if text is not None else "" if position else LABEL
            cells.append(f'<td{_side(field)} style="{TOTAL}">{_escaped(shown)}</td>')
        return f"<tfoot>\n<tr>{''.join(cells)}</tr>\n</tfoot>\n"


class _Rows:
    """Turns rows into lines of the table."""

    def __init__(self, section: Section, look: Look, null: str, remarks: Remarks) -> None:
        self._fields = section.fields
        self._look = look
        self._null = literal(_escaped(null))
        self._remarks = remarks

    def of(self, batch: pa.RecordBatch) -> pa.Array:
        """A line for each row."""
        parts: list[pa.Array | pa.Scalar] = []
        between = "<tr>"
        for array, field in zip(batch.columns, self._fields, strict=True):
            parts += [
                literal(f'{between}<td{_side(field)}{_whole(field)} style="{CELL}">'),
                self._texts(array, field),
            ]
            between = "</td>"
        return joined(*parts, literal("</td></tr>\n"))

    def _texts(self, array: pa.Array, field: pa.Field) -> pa.Array:
        texts = display_texts(array, field, self._look)
        control = pc.match_substring_regex(texts, _CONTROL)
        if pc.any(control).as_py():
            self._remarks.note(field.name, _REPLACED, pc.sum(control).as_py())
            texts = pc.replace_substring_regex(texts, _CONTROL, "�")
        for sign, entity in _ENTITIES.items():
            texts = pc.replace_substring(texts, sign, entity)
        return pc.fill_null(texts, self._null)


def _side(field: pa.Field) -> str:
    return ' align="right"' if is_numeric(field) else ""


def _whole(field: pa.Field) -> str:
    """A date or an instant stays on one line; numbers do by their side."""
    return " nowrap" if pt.is_temporal(field.type) and not is_numeric(field) else ""


def _least_widths(section: Section) -> list[str]:
    """As much of the text of each column as a narrow screen should show on one line; the rest wraps."""
    first = next(iter(section.slices(rows=_SAMPLE_ROWS)), None)
    if first is None:
        return [""] * len(section.columns)
    return [
        f";min-width:{min(_longest(array) * _CHARACTER, _READABLE):.1f}em" if is_text(field) else ""
        for array, field in zip(first.columns, section.fields, strict=True)
    ]


def _longest(array: pa.Array) -> int:
    return pc.max(pc.utf8_length(array.cast(pa.large_utf8()))).as_py() or 0


def _escaped(text: str) -> str:
    return escape("".join(one if one >= " " or one in "\t\n" else "�" for one in text))
