"""Text files of columns as a table: every value exact, its type found in the whole file or declared.

A column is a number, a day or a moment only if each of its values is written as one: `007` stays text. An
empty cell is NULL, `""` is an empty text. A row that does not fit the header is an error, never repaired.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import duckdb

from reporthub_dagster.connectors.csv_header import CsvForm, CsvHeader
from reporthub_dagster.connectors.csv_problems import LONGEST_ROW, holds_twice
from reporthub_dagster.connectors.duckdb_engine import literal
from reporthub_dagster.connectors.nested_values import TYPES, declared_field
from reporthub_dagster.connectors.spool_table import quoted
from reporthub_dagster.reporting.errors import ConfigurationError

_SAMPLE_ROWS = 2_000
_MOST_DIGITS = 38
_NO_CELL = uuid4().hex
"""What no cell is."""
_HOUR, _MINUTE = r"([01]\d|2[0-3])", r"[0-5]\d"
"""DuckDB takes 24:00 for the next day, and an offset of 99 hours."""
_NUMBER = r"-?(0|[1-9]\d*)(\.\d+)?"
_SCIENTIFIC = r"-?(0|[1-9]\d{0,14})(\.\d+)?([eE][+-]?\d{1,3})?"
"""In 16 characters as many digits as a double keeps."""
_DOUBLES = "2.3e-308 AND 1.7e308"
_MOMENT = rf"\d{{4}}-\d\d-\d\d[ T]{_HOUR}:{_MINUTE}(:{_MINUTE}(\.\d{{1,6}})?)?"
_OFFSET = rf"Z|[+-](0\d|1[0-5])(:?{_MINUTE})?"
_DAY_GIVEN = r"\d{4}[-/]\d{1,2}[-/]\d{1,2}"
_CLOCK_GIVEN = r"\d{1,2}:\d{1,2}(:\d{1,2}(\.\d{1,6}0*)?)?"
_MOMENT_GIVEN = rf"{_DAY_GIVEN}([ T]{_CLOCK_GIVEN})?"


def _matches(pattern: str, kind: str) -> str:
    return f"regexp_full_match(@, '{pattern}') AND TRY_CAST(@ AS {kind}) IS NOT NULL"


def _within(kind: str) -> str:
    """A moment of the years that files can show: else the column is read again, as DuckDB's own text."""
    first, last = f"{kind} '0001-01-01 00:00:00+00'", f"{kind} '9999-12-31 23:59:59.999999+00'"
    return f"TRY_CAST(@ AS {kind}) BETWEEN {first} AND {last}"


def _given(pattern: str, kind: str) -> str:
    """A moment that a person has declared: nothing of what is written gets lost."""
    return rf"regexp_full_match(@, '\s*{pattern}\s*') AND {_within(kind)}"


_FOUND = {
    "BOOLEAN": "@ IN ('true', 'false', 'True', 'False', 'TRUE', 'FALSE')",
    "BIGINT": "CAST(TRY_CAST(@ AS BIGINT) AS VARCHAR) = @",
    "DECIMAL": f"regexp_full_match(@, '{_NUMBER}')",
    "DOUBLE": f"strlen(@) <= 16 AND regexp_full_match(@, '{_SCIENTIFIC}') AND "
    # None that a double makes zero or infinite.
    f"(regexp_full_match(@, '-?[0.]+([eE].*)?') OR abs(TRY_CAST(@ AS DOUBLE)) BETWEEN {_DOUBLES})",
    # Ten characters: neither `infinity` nor a year that files cannot show.
    "DATE": "strlen(@) = 10 AND CAST(TRY_CAST(@ AS DATE) AS VARCHAR) = @",
    # Most are written as DuckDB writes them, which takes less time to see than a pattern.
    "TIMESTAMP": f"{_within('TIMESTAMP')} AND CASE WHEN CAST(TRY_CAST(@ AS TIMESTAMP) AS VARCHAR) = @ "
    f"THEN true ELSE regexp_full_match(@, '{_MOMENT}') END",
    "TIMESTAMP WITH TIME ZONE": f"regexp_full_match(@, '{_MOMENT}({_OFFSET})') AND {_within('TIMESTAMPTZ')}",
}
"""Type → what holds for each value, `@`, of a column that gets it, from narrow to wide; then VARCHAR."""
_DECLARED = {
    "text": ("VARCHAR", "true"),
    "integer": ("BIGINT", _matches(r"\s*[+-]?\d+\s*", "BIGINT")),
    "double": (
        "DOUBLE",
        "TRY_CAST(@ AS DOUBLE) IS NOT NULL AND (isfinite(TRY_CAST(@ AS DOUBLE)) OR @ NOT GLOB '*[0-9]*')",
    ),
    "boolean": ("BOOLEAN", "TRY_CAST(@ AS BOOLEAN) IS NOT NULL"),
    "date": ("DATE", _given(rf"{_DAY_GIVEN}([ T]00?:00?(:00?(\.0+)?)?)?", "TIMESTAMP")),
    "timestamp": ("TIMESTAMP", _given(_MOMENT_GIVEN, "TIMESTAMP")),
    "timestamp with time zone": (
        "TIMESTAMPTZ",
        _given(rf"{_MOMENT_GIVEN}({_OFFSET}| ?[A-Za-z][\w/+-]*)?", "TIMESTAMPTZ"),
    ),
    "time": ("TIME", _matches(rf"\s*{_CLOCK_GIVEN}\s*", "TIME")),
    "json": ("JSON", "json_valid(@)"),
}
"""What a person may declare → type, and what must hold for each value."""


def csv_select(
    connection: duckdb.DuckDBPyConnection, files: Iterable[Path], form: CsvForm, header: CsvHeader
) -> str:
    """A SELECT of the rows of the files, one after the other, with their types.

    Args:
        connection: An engine that may read them.
        files: UTF-8; all have the header.
        form: How they are written.
        header: Theirs.

    Raises:
        ConfigurationError: A declared column is not there, or a value is not of its declared type.
        duckdb.Error: A row does not fit the header: see `csv_problems.row_problem`.
    """
    reader = _Reader(connection, tuple(files), form, header)
    kinds = reader.kinds()
    return f"SELECT * FROM {reader.source(kinds)}"


class _Reader:
    """The files of one table."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        files: tuple[Path, ...],
        form: CsvForm,
        header: CsvHeader,
    ) -> None:
        self._connection = connection
        self._files = files
        self._form = form
        self._delimiter = header.delimiter
        self.names = header.names

    def source(self, kinds: Mapping[str, str], null: str = "") -> str:
        """The files as DuckDB's function, their columns of these types; `null` is how nothing is written."""
        paths = ", ".join(literal(path) for path in self._files)
        columns = ", ".join(f"{literal(name)}: {literal(kind)}" for name, kind in kinds.items())
        quote = literal(self._form.quote)
        return (
            f"read_csv([{paths}], columns = {{{columns}}}, auto_detect = false, header = true, "
            f"delim = {literal(self._delimiter)}, quote = {quote}, escape = {quote}, "
            f"buffer_size = {LONGEST_ROW}, nullstr = {literal(null)}, allow_quoted_nulls = false, "
            "strict_mode = true, null_padding = false, ignore_errors = false, compression = 'none')"
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
        while True:
            found = self._verified({name: kinds[0] for name, kinds in candidates.items()})
            kinds |= found
            candidates = {name: left[1:] for name, left in candidates.items() if name not in found}
            if not candidates:
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
        """Those of the wanted types that hold in all rows; each row is found to fit the header."""
        asked = {name: kind for name, kind in wanted.items() if kind != "VARCHAR"}
        found = {name: kind for name, kind in wanted.items() if kind == "VARCHAR"}
        # Counted, as what stands in a CASE of its own is computed again for each use.
        measures = [
            measure
            for name, kind in asked.items()
            for measure in (
                f"count_if({quoted(name)} <> '')",
                f"count_if({_FOUND[kind].replace('@', quoted(name))})",
                *(_lengths(name) if kind == "DECIMAL" else ("0", "0")),
            )
        ]
        # Read as if nothing were NULL: DuckDB passes over cells beyond the header that are.
        rows, *answers = self._row(["count(*)", *measures], self._source_of_texts(_NO_CELL))
        values = iter(answers)
        gaps = []
        for name, kind in asked.items():
            cells, held, whole, fraction = (next(values) for _ in range(4))
            if not cells:
                found[name] = "VARCHAR"
            elif held == cells and (kind != "DECIMAL" or whole + fraction <= _MOST_DIGITS):
                found[name] = f"DECIMAL({whole + fraction},{fraction})" if kind == "DECIMAL" else kind
                gaps += [name] if cells < rows else []
        return found | dict.fromkeys(self._with_empty_texts(gaps), "VARCHAR")

    def _with_empty_texts(self, names: Sequence[str]) -> list[str]:
        """Those of the columns that hold `""`, which is a text."""
        if not names or not any(holds_twice(path, self._form.quote) for path in self._files):
            return []
        counted = self._row([f"count_if({quoted(name)} = '')" for name in names], self._texts)
        return [name for name, count in zip(names, counted, strict=True) if count]

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
        return self._source_of_texts()

    def _source_of_texts(self, null: str = "") -> str:
        return self.source(dict.fromkeys(self.names, "VARCHAR"), null)

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


def _wrong(column: str, problem: str, valid: str, value: object = None) -> ConfigurationError:
    return ConfigurationError(
        problem,
        table="report_datasources",
        column=f"connection_config.columns.{column}",
        value=value,
        valid=valid,
    )
