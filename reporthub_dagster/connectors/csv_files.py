"""Text files of columns as a table: every value exact, its type found in the whole file or declared.

A column is a number, a day or a moment only if each of its values is written as one: `007` stays text. An
empty cell is NULL, `""` is an empty text. A row that does not fit the header is an error, never repaired.
"""

from __future__ import annotations

import csv
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import duckdb

from reporthub_dagster.connectors.duckdb_engine import literal
from reporthub_dagster.connectors.file_formats import new_file
from reporthub_dagster.connectors.nested_values import TYPES, declared_field
from reporthub_dagster.connectors.spool_table import quoted
from reporthub_dagster.reporting.errors import ConfigurationError, PermanentError
from reporthub_dagster.storage.spool import distinct_names

_SAMPLE_ROWS = 2_000
_DELIMITERS = ",;\t|"
_MOST_DIGITS = 38
_BUFFER = 8_000_000
"""Bytes that are read at once; DuckDB's own 32 MB are not faster."""
_DOUBLES = "2.3e-308 AND 1.7e308"
_CLOCK = r"\d\d:\d\d(:\d\d(\.\d{1,6})?)?"
_NUMBER = r"-?(0|[1-9]\d*)(\.\d+)?"
_MOMENT = rf"\d{{4}}-\d\d-\d\d[ T]{_CLOCK}"
_ZONED = rf"{_MOMENT}(Z|[+-](0\d|1[0-5])(:?[0-5]\d)?)"


def _matches(pattern: str, kind: str) -> str:
    return f"regexp_full_match(@, '{pattern}') AND TRY_CAST(@ AS {kind}) IS NOT NULL"


def _within(kind: str) -> str:
    """A moment of the years that files can show: else the column is read again, as DuckDB's own text."""
    first, last = f"{kind} '0001-01-01 00:00:00+00'", f"{kind} '9999-12-31 23:59:59.999999+00'"
    return f"TRY_CAST(@ AS {kind}) BETWEEN {first} AND {last}"


_FOUND = {
    "BOOLEAN": "@ IN ('true', 'false', 'True', 'False', 'TRUE', 'FALSE')",
    "BIGINT": "CAST(TRY_CAST(@ AS BIGINT) AS VARCHAR) = @",
    "DECIMAL": f"regexp_full_match(@, '{_NUMBER}')",
    # As many digits as a double keeps, and no number that it makes zero or infinite.
    "DOUBLE": _matches(rf"{_NUMBER}([eE][+-]?\d{{1,3}})?", "DOUBLE") + " AND length(@) <= 16 AND "
    f"(regexp_full_match(@, '-?[0.]+([eE].*)?') OR abs(TRY_CAST(@ AS DOUBLE)) BETWEEN {_DOUBLES})",
    # Ten characters: neither `infinity` nor a year that files cannot show.
    "DATE": "strlen(@) = 10 AND CAST(TRY_CAST(@ AS DATE) AS VARCHAR) = @",
    # Most are written as DuckDB writes them, which takes less time to see than a pattern.
    "TIMESTAMP": f"{_within('TIMESTAMP')} AND CASE WHEN CAST(TRY_CAST(@ AS TIMESTAMP) AS VARCHAR) = @ "
    f"THEN true ELSE regexp_full_match(@, '{_MOMENT}') END",
    "TIMESTAMP WITH TIME ZONE": f"regexp_full_match(@, '{_ZONED}') AND {_within('TIMESTAMPTZ')}",
}
"""Type → what holds for each value, `@`, of a column that gets it, from narrow to wide; then VARCHAR."""
_DECLARED = {
    "text": ("VARCHAR", "true"),
    "integer": ("BIGINT", _matches(r"\s*[+-]?\d+\s*", "BIGINT")),
    "double": ("DOUBLE", "TRY_CAST(@ AS DOUBLE) IS NOT NULL"),
    "boolean": ("BOOLEAN", "TRY_CAST(@ AS BOOLEAN) IS NOT NULL"),
    "date": ("DATE", "TRY_CAST(@ AS DATE) IS NOT NULL"),
    "timestamp": ("TIMESTAMP", "TRY_CAST(@ AS TIMESTAMP) IS NOT NULL"),
    "timestamp with time zone": ("TIMESTAMPTZ", "TRY_CAST(@ AS TIMESTAMPTZ) IS NOT NULL"),
    "time": ("TIME", "TRY_CAST(@ AS TIME) IS NOT NULL"),
    "json": ("JSON", "json_valid(@)"),
}
"""What a person may declare → type, and what must hold for each value."""


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
class CsvFiles:
    """Files that are one table.

    Attributes:
        paths: UTF-8, each with what people call it.
        names: Of the columns.
    """

    paths: Mapping[Path, str]
    delimiter: str
    names: list[str]

    @classmethod
    def of(cls, files: Mapping[Path, str], form: CsvForm, scratch: Path) -> CsvFiles:
        """Files that have the same header.

        Args:
            files: UTF-8, each with what people call it.
            form: How they are written.
            scratch: For copies of files that cannot be read as they are.

        Raises:
            PermanentError: A file has no header, or another one.
        """
        headers = {path: _Header.of(path, form) for path in files}
        for path, header in headers.items():
            if not header.cells:
                raise PermanentError(f"the file {files[path]} is empty: it has no header")
        path, first = next(iter(headers.items()))
        for other, header in headers.items():
            if header.names != first.names:
                raise PermanentError(
                    f"the file {files[other]} has the columns {', '.join(header.names)}, "
                    f"and {files[path]} has {', '.join(first.names)}"
                )
        readable = {header.one_line(path, scratch): files[path] for path, header in headers.items()}
        return cls(readable, first.delimiter, first.names)


def csv_select(connection: duckdb.DuckDBPyConnection, files: CsvFiles, form: CsvForm) -> str:
    """A SELECT of the rows of the files, one after the other, with their types.

    Args:
        connection: An engine that may read them.
        files: What is read.
        form: How they are written.

    Raises:
        ConfigurationError: A declared column is not there, or a value is not of its declared type.
        duckdb.Error: A row does not fit the header: see `row_problem`.
    """
    reader = _Reader(connection, files, form)
    kinds = reader.kinds()
    return f"SELECT * FROM {reader.source(kinds)}"


def row_problem(words: str, files: Mapping[Path, str]) -> PermanentError | None:
    """What DuckDB says of a row, in our words; None when it speaks of something else."""
    line = re.search(r"CSV Error on Line: (\d+)", words)
    if line is None:
        return None
    path = re.search(r"file = (\S.*?)\s+delimiter =", words)
    name = files.get(Path(path[1]), Path(path[1]).name) if path else "?"
    cells = re.search(r"Expected Number of Columns: (\d+) Found: (\d+)", words)
    problem = "it cannot be read"
    if cells:
        problem = f"it has {cells[2]} cells, the header {cells[1]}"
    elif "unterminated quote" in words or "quote" in words.partition("Possible")[0]:
        problem = "a quotation mark is not closed, or stands inside a cell"
    elif "unicode" in words:
        problem = "it is not UTF-8; set connection_config.encoding"
    return PermanentError(f"the file {name}, line {line[1]}: {problem}")


class _Reader:
    """The files of one table."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, files: CsvFiles, form: CsvForm) -> None:
        self._connection = connection
        self._files = files
        self._form = form
        self.names = files.names

    def source(self, kinds: Mapping[str, str]) -> str:
        """The files as DuckDB's function, their columns of these types."""
        paths = ", ".join(literal(path) for path in self._files.paths)
        columns = ", ".join(f"{literal(name)}: {literal(kind)}" for name, kind in kinds.items())
        quote = literal(self._form.quote)
        return (
            f"read_csv([{paths}], columns = {{{columns}}}, auto_detect = false, header = true, "
            f"delim = {literal(self._files.delimiter)}, quote = {quote}, escape = {quote}, "
            f"buffer_size = {_BUFFER}, nullstr = '', allow_quoted_nulls = false, strict_mode = true, "
            "null_padding = false, ignore_errors = false)"
        )

    def kinds(self) -> dict[str, str]:
        """The type of each column: declared, or the narrowest that is exact for every value."""
        for name in self._form.columns:
            if name not in self.names:
                raise _wrong(name, "the files have no such column", f"they have {', '.join(self.names)}")
        self._require_declared()
        kinds = {name: self._declared(name)[0] for name in self._form.columns}
        open_names = [name for name in self.names if name not in kinds]
        candidates = self._candidates(open_names)
        while candidates:
            found = self._verified({name: kinds[0] for name, kinds in candidates.items()})
            kinds |= found
            candidates = {name: left[1:] for name, left in candidates.items() if name not in found}
        return {name: kinds[name] for name in self.names}

    def _candidates(self, names: Sequence[str]) -> dict[str, list[str]]:
        """What each column may be, by the first rows; text at the latest."""
        if not names:
            return {}
        # The cells below each other: to plan each check for each column takes longer than to run it.
        rows = f"SELECT {', '.join(map(quoted, names))} FROM {self._texts} LIMIT {_SAMPLE_ROWS}"
        holds = [f"bool_and(coalesce({check.replace('@', 'v')}, false))" for check in _FOUND.values()]
        asked = f"SELECT k, {', '.join(holds)} FROM (UNPIVOT ({rows}) ON * INTO NAME k VALUE v) GROUP BY k"
        found = {
            name: [kind for kind, held in zip(_FOUND, row, strict=True) if held]
            for name, *row in self._connection.sql(asked).fetchall()
        }
        return {name: [*found.get(name, _FOUND), "VARCHAR"] for name in names}

    def _verified(self, wanted: Mapping[str, str]) -> dict[str, str]:
        """Those of the wanted types that hold in all rows."""
        asked = {name: kind for name, kind in wanted.items() if kind != "VARCHAR"}
        found = {name: kind for name, kind in wanted.items() if kind == "VARCHAR"}
        # Counted, as what stands in a CASE of its own is computed again for each use.
        measures = [
            measure
            for name, kind in asked.items()
            for measure in (
                f"count({quoted(name)})",
                f"count_if({_FOUND[kind].replace('@', quoted(name))})",
                *(_lengths(name) if kind == "DECIMAL" else ("0", "0")),
            )
        ]
        values = iter(self._row(measures, self._texts))
        for name, kind in asked.items():
            cells, held, whole, fraction = (next(values) for _ in range(4))
            if not cells:
                found[name] = "VARCHAR"
            elif held == cells and kind != "DECIMAL":
                found[name] = kind
            elif held == cells and whole + fraction <= _MOST_DIGITS:
                found[name] = f"DECIMAL({whole + fraction},{fraction})"
        return found

    def _require_declared(self) -> None:
        names = list(self._form.columns)
        row = self._row([f"bool_and({_check(self._declared(n)[1], n)})" for n in names], self._texts)
        for name, held in zip(names, row, strict=True):
            if held is False:
                check = _check(self._declared(name)[1], "value")
                numbered = f"SELECT row_number() OVER () AS n, {quoted(name)} AS value FROM {self._texts}"
                (number,) = self._row(["min(n)"], f"({numbered}) WHERE NOT ({check})")
                word = self._form.columns[name]
                raise _wrong(name, f"the value of row {number} is no {word}", "declare a type that holds it")

    def _declared(self, name: str) -> tuple[str, str]:
        word = " ".join(self._form.columns[name].lower().split())
        if word in _DECLARED:
            return _DECLARED[word]
        try:
            kind = declared_field(name, word).type
            places = rf"(\.\d{{0,{kind.scale}}}0*)?"
        except (ValueError, AttributeError):
            valid = f"give one of {', '.join(known for known in TYPES if known not in ('decimal', 'binary'))}"
            raise _wrong(name, "not a type of text files", valid, word) from None
        exact = f"DECIMAL({kind.precision},{kind.scale})"
        return exact, _matches(rf"\s*[+-]?\d+{places}\s*", exact)

    @property
    def _texts(self) -> str:
        return self.source(dict.fromkeys(self.names, "VARCHAR"))

    def _row(self, expressions: Sequence[str], source: str) -> tuple[Any, ...]:
        if not expressions:
            return ()
        return tuple(self._connection.sql(f"SELECT {', '.join(expressions)} FROM {source}").fetchall()[0])


def _check(condition: str, name: str) -> str:
    """A condition on each value; NULL where there is none."""
    column = quoted(name)
    return f"CASE WHEN {column} IS NOT NULL THEN coalesce({condition.replace('@', column)}, false) END"


def _lengths(name: str) -> tuple[str, str]:
    """The most digits before and after the point."""
    # Of bytes and places: to split each value takes as long as to read the file.
    column = quoted(name)
    point, size = f"instr({column}, '.')", f"strlen({column})"
    whole = f"CASE {point} WHEN 0 THEN {size} ELSE {point} - 1 END - CAST(starts_with({column}, '-') AS INT)"
    return f"max({whole})", f"max(CASE {point} WHEN 0 THEN 0 ELSE {size} - {point} END)"


@dataclass(frozen=True, slots=True)
class _Header:
    """The first row of a file.

    Attributes:
        lines: How many lines it takes: a name may hold line breaks.
    """

    delimiter: str
    cells: list[str]
    lines: int

    @classmethod
    def of(cls, path: Path, form: CsvForm) -> _Header:
        """The header of a file; without a delimiter, the one that makes most of it."""
        with path.open(encoding="utf-8-sig", newline="", errors="replace") as file:
            return max(
                (cls._read(file, delimiter, form.quote) for delimiter in form.delimiter or _DELIMITERS),
                key=lambda found: len(found.cells),
            )

    @classmethod
    def _read(cls, file: TextIO, delimiter: str, quote: str) -> _Header:
        file.seek(0)
        rows = csv.reader(file, delimiter=delimiter, quotechar=quote)
        cells = next(rows, [])
        return cls(delimiter, cells, rows.line_num)

    @property
    def names(self) -> list[str]:
        """Of the columns."""
        return distinct_names(self.cells, str.lower)

    def one_line(self, path: Path, scratch: Path) -> Path:
        """The file itself, or a copy of it where the header takes several lines.

        DuckDB believes that all lines end as the first one does, in quotes or not: where a break in a name is
        not the break of the lines, it finds no rows.
        """
        if self.lines <= 1:
            return path
        target = new_file(scratch, path.name)
        exact: dict[str, Any] = {"encoding": "utf-8", "errors": "surrogateescape", "newline": ""}
        with path.open(**exact) as source, target.open("w", **exact) as out:
            last = [source.readline() for _ in range(self.lines)][-1]
            line_end = last[len(last.rstrip("\r\n")) :]
            out.write(self.delimiter.join(str(place) for place in range(len(self.cells))) + line_end)
            shutil.copyfileobj(source, out)
        return target


def _wrong(column: str, problem: str, valid: str, value: object = None) -> ConfigurationError:
    return ConfigurationError(
        problem,
        table="report_datasources",
        column=f"connection_config.columns.{column}",
        value=value,
        valid=valid,
    )
