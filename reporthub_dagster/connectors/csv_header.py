"""The header of text files of columns: what parts its names, and that DuckDB finds its end."""

from __future__ import annotations

import csv
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from reporthub_dagster.connectors.csv_problems import NOT_CLOSED, NOT_UTF8
from reporthub_dagster.connectors.file_formats import new_file
from reporthub_dagster.reporting.errors import PermanentError
from reporthub_dagster.storage.spool import distinct_names

_DELIMITERS = ",;\t|"
_HEAD = 1 << 16
_MOST = 1 << 20


@dataclass(frozen=True, slots=True)
class CsvForm:
    """How the files are written.

    Attributes:
        delimiter: Between cells; empty: what the header has most of.
        columns: Column → declared type.
    """

    delimiter: str = ""
    quote: str = '"'
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CsvHeader:
    """What the files begin with."""

    delimiter: str
    names: tuple[str, ...]


def read_header(files: Mapping[Path, str], form: CsvForm) -> CsvHeader:
    """The header that all files have.

    Args:
        files: UTF-8, each with what people call it.
        form: How they are written.

    Raises:
        PermanentError: A file has no header, or another one.
    """
    headers = {name: _header(path, name, form) for path, name in files.items()}
    first, header = next(iter(headers.items()))
    for name, other in headers.items():
        if other.names != header.names:
            raise PermanentError(
                f"the file {name} has the columns {', '.join(other.names)}, and {first} has "
                f"{', '.join(header.names)}"
            )
    return header


def even_header(path: Path, name: str, quote: str, scratch: Path) -> Path:
    """A text file whose header has no other ends of lines than the file, and as many.

    DuckDB goes by the first that it sees: one inside the quotes of a header, as Excel writes it, costs it
    all rows.
    """
    header, open_ = "", False
    with path.open(encoding="utf-8-sig", newline="", errors="surrogateescape") as source:
        while (line := source.readline(_MOST)) and len(header) < _MOST:
            header += line
            open_ ^= line.count(quote) % 2 == 1
            if not open_:
                break
        text = header.rstrip("\r\n")
        if open_ or not re.search(r"[\r\n]", text):
            return path
        end = header[len(text) :]
        target = new_file(scratch, name)
        with target.open("w", encoding="utf-8", newline="", errors="surrogateescape") as out:
            out.write(re.sub(r"\r\n|\r|\n", end, text) + end)
            shutil.copyfileobj(source, out, _MOST)
    return target


def _header(path: Path, name: str, form: CsvForm) -> CsvHeader:
    """The header of a file.

    Raises:
        PermanentError: It is empty, or its header cannot be read.
    """
    quote = form.quote
    with path.open(encoding="utf-8-sig", newline="", errors="surrogateescape") as file:
        bare = re.sub(f"{re.escape(quote)}[^{re.escape(quote)}]*{re.escape(quote)}", "", file.read(_HEAD))
        line = re.split(r"[\r\n]", bare, maxsplit=1)[0]
        delimiter = form.delimiter or max(_DELIMITERS, key=line.count)
        file.seek(0)
        try:
            cells = next(csv.reader(file, delimiter=delimiter, quotechar=quote, strict=True), [])
        except csv.Error:
            raise PermanentError(f"the file {name}, line 1: {NOT_CLOSED}") from None
    if not cells:
        raise PermanentError(f"the file {name} is empty: it has no header")
    if re.search("[\udc80-\udcff]", "".join(cells)):
        raise PermanentError(f"the file {name}, line 1: {NOT_UTF8}")
    return CsvHeader(delimiter, tuple(distinct_names(cells, str.lower)))
