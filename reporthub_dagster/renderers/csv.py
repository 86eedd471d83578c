"""CSV after RFC 4180: CRLF, quotes only where needed, UTF-8; built column by column with Arrow.

* NULL is an empty field and the empty string is `""`, as PostgreSQL writes them. In a file of one column a
  NULL would be an empty line, which readers skip: there both are `""`.
* Text that a spreadsheet would run as a formula (it begins with `= + - @`, tab or carriage return) gets a
  leading apostrophe; never numbers, nor text that is only a dash or a number with a sign (`-5`, `+4930123`).
  `escape_formulas: false` leaves such text as it is.
* A remark that rows were cut has no place here: the execution carries it.
"""

from __future__ import annotations

from typing import BinaryIO, Literal
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from reporthub_dagster.renderers.base import Renderer, RenderRequest
from reporthub_dagster.renderers.cells import (
    TEXT,
    TextStyle,
    cell_texts,
    is_text,
    joined,
    literal,
    text_block,
)
from reporthub_dagster.renderers.options import Options, read_options

_LINE_END = "\r\n"
_FORMULA = r"^[=+\-@\t\r]"
_HARMLESS = r"^(-|[+-][0-9]+([.,][0-9]+)*([eE][+-]?[0-9]+)?)$"


class CsvOptions(Options):
    """`parameters.format` of a csv report."""

    # None of these occurs in the text of a number, a date or a time, so only text needs quotes.
    delimiter: Literal[",", ";", "\t", "|"] = Field(",", description="one of , ; | or a tab")
    bom: bool = Field(False, description="true or false; true helps old Excel to see UTF-8")
    escape_formulas: bool = Field(True, description="true or false")


class CsvRenderer(Renderer):
    """Comma-separated values."""

    format = "csv"
    extension = "csv"
    media_type = "text/csv"
    holds_sections = False

    def write(self, request: RenderRequest, file: BinaryIO) -> tuple[str, ...]:
        """Write the file; nothing is ever altered but for the apostrophes."""
        options = read_options(CsvOptions, request.options, renderer=self.format)
        style = TextStyle(ZoneInfo(request.window.timezone))
        section = request.only_section
        if options.bom:
            file.write(b"\xef\xbb\xbf")
        _write_lines(
            [_text_fields(pa.array([name], TEXT), options) for name in section.columns], options, file
        )
        for batch in section.slices():
            columns = zip(batch.columns, section.fields, strict=True)
            _write_lines([_fields(array, field, style, options) for array, field in columns], options, file)
        return ()


def _write_lines(columns: list[pa.Array], options: CsvOptions, file: BinaryIO) -> None:
    null = literal("" if len(columns) > 1 else '""')
    filled = [pc.fill_null(column, null) for column in columns]
    lines = pc.binary_join_element_wise(*filled, literal(options.delimiter)) if len(filled) > 1 else filled[0]
    if len(lines):
        file.write(text_block(lines, _LINE_END))
        file.write(_LINE_END.encode())


def _fields(array: pa.Array, field: pa.Field, style: TextStyle, options: CsvOptions) -> pa.Array:
    texts = cell_texts(array, field, style)
    return _text_fields(texts, options) if is_text(field) else texts


def _text_fields(texts: pa.Array, options: CsvOptions) -> pa.Array:
    if options.escape_formulas:
        texts = _without_formulas(texts)
    special = pc.match_substring_regex(texts, f'["\r\n{options.delimiter}]|^$')
    if not pc.any(special).as_py():
        return texts
    quoted = joined(literal('"'), pc.replace_substring(texts, '"', '""'), literal('"'))
    return pc.if_else(special, quoted, texts)


def _without_formulas(texts: pa.Array) -> pa.Array:
    suspect = pc.match_substring_regex(texts, _FORMULA)
    if not pc.any(suspect).as_py():
        return texts
    formula = pc.and_not(suspect, pc.match_substring_regex(texts, _HARMLESS))
    return pc.if_else(formula, joined(literal("'"), texts), texts)
