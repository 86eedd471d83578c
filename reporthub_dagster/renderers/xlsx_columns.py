"""A column of a sheet: its slices as cells in XML, built by Arrow rather than cell by cell."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pyarrow as pa
import pyarrow.compute as pc

from reporthub_dagster.renderers.base import Remarks
from reporthub_dagster.renderers.cells import TEXT, cell_texts, is_numeric, joined, literal
from reporthub_dagster.renderers.formatting import Look, pattern_of
from reporthub_dagster.renderers.xlsx_cells import Numbers, keeps, number_reader
from reporthub_dagster.renderers.xlsx_styles import Style, Styles
from reporthub_dagster.renderers.xlsx_text import cut_to_cells, escaped_cell, escaped_cells

TOO_LONG = "longer than the 32,767 characters of an Excel cell and cut"
_EMPTY = "<c/>"
_AFTER_TEXT, _AFTER_NUMBER = "</t></is></c>", "</v></c>"


@dataclass(frozen=True, slots=True)
class Cells:
    """The cells of a slice of a column: every row is `before`, its text, `after`.

    Attributes:
        lines: Lines of text by row, only where there are several.
    """

    texts: pa.Array
    before: str = ""
    after: str = ""
    lines: dict[int, int] = field(default_factory=dict)

    def whole(self) -> pa.Array:
        """Each cell as one text, null where there is none."""
        if not self.before:
            return self.texts
        return joined(literal(self.before), self.texts, literal(self.after))


class SheetColumn:
    """Writes the cells of one column.

    `pattern` is the number format that its cells have in common so far, and `is_all_numbers` whether Excel
    can count with all of them.

    Args:
        column: What it is.
        width: Its width in characters.
        look: What the rendering options say.
        null: Text that stands for NULL; empty for a blank cell.
        styles: The workbook's.
        remarks: Hears of cells that were cut.
    """

    def __init__(
        self, column: pa.Field, width: int, look: Look, null: str, styles: Styles, remarks: Remarks
    ) -> None:
        self.name = column.name
        self.width = width
        self.is_numeric = is_numeric(column)
        own = pattern_of(column, look)
        self._read = number_reader(column)
        self.style = Style(
            pattern=own.excel if own else "",
            left=self._read is not None and not self.is_numeric,
            right=self.is_numeric,
            indent=int(self.is_numeric),
        )
        self.pattern = self.style.pattern
        self.is_all_numbers = True
        self._own = own is not None
        self._column = column
        self._text_style = look.style
        self._styles = styles
        self._remarks = remarks
        self._blank = text_cell(null, styles.number(self.style)) if null else _EMPTY

    def cells(self, array: pa.Array) -> Cells:
        """The cells of a slice, none of them null."""
        if self._read is None:
            return self._filled(self._texts(cell_texts(array, self._column, self._text_style)))
        found = self._read(array, self._column, self._text_style)
        numbers = self._numbers(found)
        if found.texts.null_count == array.null_count:
            return self._filled(numbers)
        self.is_all_numbers = False
        unfaithful = pc.and_(array.is_valid(), found.texts.is_null())
        texts = cell_texts(pc.if_else(unfaithful, array, None), self._column, self._text_style)
        return self._filled(Cells(pc.coalesce(numbers.whole(), self._texts(texts).whole())))

    def keeps(self, number: str) -> bool:
        """True when a cell may hold this sum of the column as a number."""
        return keeps(number, self._column)

    def _filled(self, cells: Cells) -> Cells:
        if not cells.texts.null_count:
            return cells
        return Cells(pc.fill_null(cells.whole(), literal(self._blank)), lines=cells.lines)

    def _numbers(self, found: Numbers) -> Cells:
        kind = f' t="{found.kind}"' if found.kind != "n" else ""
        if self._own or isinstance(found.pattern, str):
            self.pattern = self.style.pattern if self._own else str(found.pattern)
            return Cells(found.texts, f'<c s="{self._number(self.pattern)}"{kind}><v>', _AFTER_NUMBER)
        encoded = found.pattern.dictionary_encode()
        numbers = pa.array([self._number(pattern) for pattern in encoded.dictionary.to_pylist()], TEXT)
        styles = numbers.take(encoded.indices)
        parts = (literal('<c s="'), styles, literal(f'"{kind}><v>'), found.texts, literal(_AFTER_NUMBER))
        return Cells(joined(*parts))

    def _number(self, pattern: str) -> str:
        return str(self._styles.number(replace(self.style, pattern=pattern)))

    def _texts(self, texts: pa.Array) -> Cells:
        texts, cut = cut_to_cells(texts)
        self._remarks.note(self.name, TOO_LONG, cut)
        lines = _lines_of(texts, self.width)
        xml, keeps_space = escaped_cells(texts)
        if not lines:
            return Cells(xml, _before_text(self._number(""), keeps_space=keeps_space), _AFTER_TEXT)
        plain = _before_text(self._number(""), keeps_space=True)
        wrapped = _before_text(str(self._styles.number(Style(wrapped=True))), keeps_space=True)
        several = pa.array([row in lines for row in range(len(texts))])
        before = pc.if_else(several, literal(wrapped), literal(plain))
        return Cells(joined(before, xml, literal(_AFTER_TEXT)), lines=lines)


def text_cell(text: str, style: int) -> str:
    """One cell of text."""
    return f"{_before_text(str(style), keeps_space=True)}{escaped_cell(text)}{_AFTER_TEXT}"


def _before_text(style: str, *, keeps_space: bool) -> str:
    space = ' xml:space="preserve"' if keeps_space else ""
    return f'<c s="{style}" t="inlineStr"><is><t{space}>'


def _lines_of(texts: pa.Array, width: int) -> dict[int, int]:
    """How many lines each text takes in a column, where it has more than one of its own."""
    broken = pc.fill_null(pc.match_substring(texts, "\n"), False)
    if not pc.any(broken, min_count=0).as_py():
        return {}
    rows = pc.indices_nonzero(broken).to_pylist()
    found = zip(rows, texts.filter(broken).to_pylist(), strict=True)
    return {row: sum(1 + len(line) // width for line in text[:2000].split("\n")) for row, text in found}
