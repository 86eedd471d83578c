"""CSV after RFC 4180: CRLF, quotes only where needed, UTF-8; built column by column with Arrow.

* NULL is an empty field and the empty string is `""`, as PostgreSQL writes them; with a text for NULL, a text
  that equals it is in quotes. In a file of one column an empty NULL would be an empty line, which readers
  skip: there both are `""`.
* Text that a spreadsheet would run as a formula (it begins with `= + - @`, tab or carriage return) gets a
  leading apostrophe; never numbers, nor text that is only a dash or a number with a sign (`-5`, `+4930123`).
  `escape_formulas: false` leaves such text as it is.
* A remark that rows were cut has no place here: the execution carries it.
"""

from __future__ import annotations

from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc

from reporthub_dagster.renderers.base import Remarks, Renderer, RenderRequest, Section
from reporthub_dagster.renderers.cells import TEXT, is_text, joined, literal, text_bytes
from reporthub_dagster.renderers.formatting import (
    Look,
    display_texts,
    look_of,
    note_unused_patterns,
    pattern_of,
)
from reporthub_dagster.renderers.options import TEXT_OPTIONS, RenderOptions, read_options
from reporthub_dagster.renderers.text_scan import beginning, empty_or_holding, holds

_LINE_ENDS = {"crlf": "\r\n", "lf": "\n"}
_FORMULA = "=+-@\t\r"
_HARMLESS = r"^(-|[+-][0-9]+([.,][0-9]+)*([eE][+-]?[0-9]+)?)$"


class CsvRenderer(Renderer):
    """Comma-separated values."""

    format = "csv"
    extension = "csv"
    media_type = "text/csv"
    holds_sections = False
    honours = TEXT_OPTIONS | {"header", "delimiter", "quoting", "line_ending", "bom", "escape_formulas"}

    def write(self, request: RenderRequest, file: BinaryIO) -> tuple[str, ...]:
        """Write the file; nothing is ever altered but for the apostrophes."""
        options = read_options(request.options)
        section, look, remarks = request.only_section, look_of(request, options), Remarks()
        note_unused_patterns(section.fields, look, remarks)
        lines = _Lines(section, look, options)
        if options.bom:
            file.write(b"\xef\xbb\xbf")
        if options.header:
            file.write(lines.header())
        file.writelines(lines.of(batch) for batch in section.slices())
        return remarks.sentences()


class _Lines:
    """Turns rows into lines."""

    def __init__(self, section: Section, look: Look, options: RenderOptions) -> None:
        self._fields = section.fields
        self._look = look
        self._options = options
        self._delimiter = literal(options.delimiter)
        self._end = literal(_LINE_ENDS[options.line_ending])
        alone = len(self._fields) == 1
        in_quotes = options.delimiter in options.null or (alone and not options.null)
        self._null = f'"{options.null}"' if in_quotes else options.null
        # Numbers as they are never hold what needs quotes.
        self._shaped = options.decimal_separator != "." or look.grouped

    def header(self) -> memoryview:
        """The names of the columns."""
        return self._joined([self._text(pa.array([field.name], TEXT)) for field in self._fields])

    def of(self, batch: pa.RecordBatch) -> memoryview:
        """The lines of some rows."""
        return self._joined([self._field(*pair) for pair in zip(batch.columns, self._fields, strict=True)])

    def _joined(self, columns: list[pa.Array]) -> memoryview:
        *others, last = columns
        if last.null_count:
            last = pc.fill_null(last, literal(self._null))
        # The end goes to the last cells: to put it between whole lines would copy them all once more.
        cells = (*others, joined(last, self._end))
        return text_bytes(
            pc.binary_join_element_wise(
                *cells, self._delimiter, null_handling="replace", null_replacement=self._null
            )
        )

    def _field(self, array: pa.Array, field: pa.Field) -> pa.Array:
        texts = display_texts(array, field, self._look)
        if is_text(field):
            return self._text(texts)
        if self._options.quoting == "all":
            return _in_quotes(texts)
        if self._shaped or pattern_of(field, self._look) is not None:
            return self._quoted_where_needed(texts)
        return texts

    def _text(self, texts: pa.Array) -> pa.Array:
        if self._options.escape_formulas:
            texts = _without_formulas(texts)
        return self._quoted_where_needed(texts) if self._options.quoting == "minimal" else _in_quotes(texts)

    def _quoted_where_needed(self, texts: pa.Array) -> pa.Array:
        special = empty_or_holding(texts, f'"\r\n{self._options.delimiter}')
        if self._options.null:
            same = pc.equal(texts, literal(self._options.null))
            special = same if special is None else pc.or_(special, same)
        return texts if special is None else _replaced(texts, special, _in_quotes(texts.filter(special)))


def _in_quotes(texts: pa.Array) -> pa.Array:
    if holds(texts, '"'):
        texts = pc.replace_substring(texts, '"', '""')
    return joined(literal('"'), texts, literal('"'))


def _without_formulas(texts: pa.Array) -> pa.Array:
    suspect = beginning(texts, _FORMULA)
    if suspect is None:
        return texts
    formula = pc.and_not(suspect, pc.match_substring_regex(texts, _HARMLESS))
    return _replaced(texts, formula, joined(literal("'"), texts.filter(formula)))


def _replaced(texts: pa.Array, mask: pa.Array, others: pa.Array) -> pa.Array:
    """`others` in the places where `mask` is true; a null of it keeps the text's null."""
    return others if len(others) == len(texts) else pc.replace_with_mask(texts, mask, others)
