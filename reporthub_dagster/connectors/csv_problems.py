"""What is wrong with a text file of columns, with its line as an editor counts it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from reporthub_dagster.reporting.errors import PermanentError

LONGEST_ROW = 8_000_000
"""Bytes, which are read at once; DuckDB's own 32 MB are not faster."""
NOT_CLOSED = "a quotation mark is not closed, or stands inside a cell"
NOT_UTF8 = "it is not UTF-8; set connection_config.encoding"
_PIECE = 1 << 20


def row_problem(words: str, files: Mapping[Path, str], quote: str) -> PermanentError | None:
    """What DuckDB says of a row, in our words; None when it speaks of something else.

    Args:
        words: Its own, in one line.
        files: Path → what people call it.
        quote: What they are written with.
    """
    row = re.search(r"CSV Error on Line: (\d+)", words)
    if row is None and "CSV Parser state machine" not in words:
        return None
    found = re.search(r"file = (\S.*?)\s+delimiter =", words)
    path = Path(found[1]) if found else next(iter(files))
    name = files.get(path, path.name)
    if row is None:
        line = _other_end(path, quote)
        problem = (
            f", line {line}: it does not end like the lines before it" if line else ": it cannot be read"
        )
        return PermanentError(f"the file {name}{problem}")
    cells = re.search(r"Expected Number of Columns: (\d+) Found: (\d+)", words)
    problem = "it cannot be read"
    if cells:
        problem = f"it has {cells[2]} cells, the header {cells[1]}"
    elif "Maximum line size" in words:
        problem = f"its row has more than {LONGEST_ROW / 1_000_000:g} MB"
    elif "unterminated quote" in words or "quote" in words.partition("Possible")[0]:
        problem = NOT_CLOSED
    elif "unicode" in words:
        problem = NOT_UTF8
    return PermanentError(f"the file {name}, line {_line_of(path, quote, int(row[1]))}: {problem}")


def holds_twice(path: Path, text: str) -> bool:
    """True when a text stands in a file twice in a row."""
    pair, end = (text * 2).encode(), b""
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            if pair in end + piece:
                return True
            end = piece[1 - len(pair) :]
    return False


def _line_of(path: Path, quote: str, row: int) -> int:
    """The line on which a row begins, as DuckDB counts rows."""
    for count, (line, _) in enumerate(_rows(path, quote), start=1):
        if count == row:
            return line
    return row


def _other_end(path: Path, quote: str) -> int | None:
    """The first line that does not end like those before it; the last may have no end."""
    first = None
    for line, end in _rows(path, quote):
        first = first or end
        if end and end != first:
            return line
    return None


def _rows(path: Path, quote: str) -> Iterator[tuple[int, str]]:
    """Of each row the line on which it begins, and what ends it."""
    begin, open_ = 1, False
    with path.open(encoding="utf-8", newline="", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            open_ ^= line.count(quote) % 2 == 1
            if not open_:
                yield begin, line[len(line.rstrip("\r\n")) :]
                begin = number + 1
