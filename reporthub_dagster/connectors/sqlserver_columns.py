"""SQL Server's types: what the driver's Arrow columns become, and what is asked for as text to stay exact.

The driver cuts what is finer than a microsecond without a word. Columns of a type that may hold such values
come as the server's own text and become times where every value is one; else the column stays text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from reporthub_dagster.connectors import arrow_columns
from reporthub_dagster.connectors.arrow_columns import TextColumn
from reporthub_dagster.connectors.fitting import fitted
from reporthub_dagster.storage.spool import text_field

Make = Callable[[str], TextColumn]

_FINE: dict[str, tuple[str, Make]] = {
    "time(7)": ("varchar(16)", arrow_columns.time_of_day),
    "datetime2(7)": ("varchar(27)", arrow_columns.timestamp),
    "datetimeoffset(7)": ("varchar(34)", arrow_columns.instant),
}
"""Type → what it is asked for as, and what that text becomes."""
_CHARACTERS = re.compile(r"(?:n?(?:var)?char|n?text)\b")
_ROWVERSION = {"timestamp": "binary(8)"}
_FINER_THAN_MICROSECONDS = r"\.\d{6}[1-9]"
_SEVENTH_DIGIT = r"(\.\d{6})0"
_VARIANT = "sql_variant"


@dataclass(frozen=True, slots=True)
class Described:
    """A column as the server describes it before the query runs."""

    name: str
    type: str
    collation: str | None = None

    @property
    def fine(self) -> bool:
        """True for a type that holds more than the driver gives."""
        return self.type in _FINE

    @property
    def variant(self) -> bool:
        """True for the type that has no type."""
        return self.type == _VARIANT

    def asked(self, number: int) -> str:
        """The column in WITH RESULT SETS, by its number: names may be missing or double."""
        kind = _FINE[self.type][0] if self.fine else _ROWVERSION.get(self.type, self.type)
        collated = f" COLLATE {self.collation}" if self.collation and _CHARACTERS.match(kind) else ""
        return f"[c{number}] {kind}{collated}"


@dataclass(frozen=True, slots=True)
class SQLServerColumn:
    """A column of a result.

    Attributes:
        field: As the spool has it.
        text: How the server's text becomes the field, for what was asked for as text.
    """

    field: pa.Field
    text: TextColumn | None = None

    def array(self, values: pa.Array) -> pa.Array:
        """The driver's column as the field's.

        Raises:
            pa.ArrowInvalid: A value does not fit.
        """
        kind = self.field.type
        if self.text is not None:
            shown = pc.cast(values, pa.utf8())
            if pc.any(pc.match_substring_regex(shown, _FINER_THAN_MICROSECONDS)).as_py():
                raise pa.ArrowInvalid("finer than microseconds")
            return self.text.convert(pc.replace_substring_regex(shown, _SEVENTH_DIGIT, r"\1"))[0]
        if pa.types.is_float32(values.type):
            # Of single precision the digits that the server shows, as everywhere: 0.1 stays 0.1.
            return pc.cast(pc.cast(values, pa.utf8()), kind)
        return values if values.type == kind else pc.cast(values, kind)


def column_of(
    name: str, given: pa.DataType, described: Described | None, wider: pa.Field | None
) -> SQLServerColumn:
    """The column for what the driver gives.

    Args:
        name: Its name in the result.
        given: Its type in the driver's batches.
        described: As the server describes it, where it does.
        wider: What a `TypeMisfit` asked for: the text as it comes.
    """
    if wider is not None:
        return SQLServerColumn(wider)
    if described is not None and described.fine:
        text = _FINE[described.type][1](name)
        return SQLServerColumn(text.field, text)
    if described is not None and described.type == "json":
        return SQLServerColumn(text_field(name, "json"))
    return SQLServerColumn(pa.field(name, _kind_of(given)))


def batch_of(
    columns: Sequence[SQLServerColumn], arrays: Sequence[pa.Array], schema: pa.Schema
) -> pa.RecordBatch:
    """A batch of the driver as one of `schema`.

    Raises:
        TypeMisfit: A value is finer than a microsecond.
    """
    return fitted(schema, lambda n: columns[n].array(arrays[n]))


def arrays_of(rows: Sequence[Sequence[Any]], schema: pa.Schema) -> list[pa.Array]:
    """The driver's Python rows as columns of its own types."""
    cells: Sequence[Sequence[Any]] = list(zip(*rows, strict=True))
    return [pa.array(_plain(column), field.type) for column, field in zip(cells, schema, strict=True)]


def notes_on(cut: Sequence[str], wider: Mapping[int, pa.Field]) -> tuple[str, ...]:
    """What people should know of a result.

    Args:
        cut: Names of columns whose values may have been finer than what came.
        wider: Those that are read as text.
    """
    return (
        *(
            f"column {field.name!r} is text: it holds moments finer than microseconds"
            for field in wider.values()
        ),
        *(f"column {name!r}: what is finer than a microsecond is cut" for name in cut),
    )


def _plain(values: Sequence[Any]) -> Sequence[Any]:
    """UUIDs as SQL Server shows them; the rest as it is."""
    return [str(value).upper() if type(value).__name__ == "UUID" else value for value in values]


def _kind_of(given: pa.DataType) -> pa.DataType:
    if pa.types.is_large_string(given):
        return pa.utf8()
    if pa.types.is_large_binary(given):
        return pa.binary()
    if pa.types.is_float32(given):
        return pa.float64()
    if pa.types.is_time(given):
        return pa.time64("us")
    if pa.types.is_timestamp(given) and given.tz:
        return pa.timestamp("us", "UTC")
    return given
