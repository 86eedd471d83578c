"""Documents as columns: nested objects become dotted names, each column the narrowest type that is exact.

`{"id": 1, "shop": {"city": "Łódź", "tags": ["a"]}}` has the columns `id`, `shop.city` and `shop.tags`; a list
is its JSON text. Types are declared by a person, or found by the first documents. When a later value does not
fit, the types of all that follows are found before the result is read again, once: whole numbers → doubles
(while every number stays exact) → exact decimal text → text. A column that turns up late is added the same
way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from reporthub_dagster.connectors.base import TypeMisfit
from reporthub_dagster.connectors.nested_values import (
    LARGEST_EXACT,
    MisfitError,
    array_of,
    field_of,
    holds_declared,
    meant,
    wider_field,
)
from reporthub_dagster.reporting.errors import ConfigurationError
from reporthub_dagster.storage.spool import text_kind

Document = Mapping[str, Any]
_MOST_COLUMNS = 5_000
"""More come of objects whose names are values, such as one for each user."""


def flattened(document: Document, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted name and value of everything in a document; an empty object is itself a value."""
    for key, value in document.items():
        if isinstance(value, Mapping) and value:
            yield from flattened(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


class NestedColumns:
    """Turns documents into record batches of one schema.

    Args:
        sample: The first documents; they decide the types of what is not declared.
        declared: The columns of the result, if a person has said them: others are left out then.
        wider: What a `TypeMisfit` of an earlier reading asked for.
        place: Table and column of the declarations; the name of what is declared is added to a
            `connection_config`.

    Raises:
        ConfigurationError: There are more columns than a report can have.
    """

    def __init__(
        self,
        sample: Sequence[Document],
        declared: Sequence[pa.Field] = (),
        wider: Mapping[int, pa.Field] | None = None,
        place: tuple[str, str] = ("report_datasources", "connection_config.columns"),
    ) -> None:
        self._declared = bool(declared)
        self._place = place
        self._beyond_doubles: set[str] = set()
        self._rows = 0
        fields = {field.name: field for field in declared}
        if not declared:
            columns = _columns(sample)
            self._require_few(len(columns))
            fields = {name: field_of(name, values) for name, values in columns.items()}
        fields |= {field.name: field for field in (wider or {}).values()}
        self.schema = pa.schema(list(fields.values()))
        self._require_few(len(fields))

    def batch(self, documents: Sequence[Document]) -> pa.RecordBatch:
        """The documents as rows; what a document has not is NULL.

        Raises:
            TypeMisfit: A value does not fit a type that was found, or a column is new.
            ConfigurationError: A value does not fit a type that a person declared.
        """
        arrays, misfits = self._fitted(documents)
        if misfits:
            raise TypeMisfit(misfits)
        self._rows += len(documents)
        return pa.record_batch(arrays, schema=self.schema)

    def widened(self, misfit: TypeMisfit, later: Iterable[Sequence[Document]]) -> TypeMisfit:
        """What all documents ask for, so that one further reading is the last.

        Args:
            misfit: Of the first batch that did not fit.
            later: The batches from that one to the last.

        Raises:
            ConfigurationError: There are more columns than a report can have.
        """
        found = dict(misfit.wider)
        self._widen(found)
        for documents in later:
            while misfits := self._fitted(documents)[1]:
                self._widen(misfits)
                found |= misfits
        return TypeMisfit(found)

    def _widen(self, fields: Mapping[int, pa.Field]) -> None:
        self.schema = pa.schema(list((dict(enumerate(self.schema)) | dict(fields)).values()))
        self._require_few(len(self.schema))

    def _fitted(self, documents: Sequence[Document]) -> tuple[list[pa.Array], dict[int, pa.Field]]:
        """The columns of these documents, and the fields that must be wider or are new."""
        columns = _columns(documents)
        arrays, misfits = [], {}
        for position, field in enumerate(self.schema):
            values = columns.get(field.name) or [None] * len(documents)
            try:
                known = [meant(value, field.type) for value in values] if self._declared else values
                arrays.append(array_of(field, known))
            except MisfitError:
                if self._declared:
                    raise self._undeclared(field, values) from None
                misfits[position] = wider_field(field, values, exact=field.name in self._beyond_doubles)
            else:
                self._note(field, arrays[-1])
        if not self._declared:
            new = [name for name in columns if self.schema.get_field_index(name) < 0]
            first = len(self.schema)
            misfits |= {first + n: field_of(name, columns[name]) for n, name in enumerate(new)}
        return arrays, misfits

    def _note(self, field: pa.Field, array: pa.Array) -> None:
        """Remember columns with whole numbers that doubles cannot show: they never become doubles."""
        if pa.types.is_int64(field.type) and field.name not in self._beyond_doubles:
            ends = pc.min_max(array).as_py()
            if ends["max"] is not None and max(ends["max"], -ends["min"]) > LARGEST_EXACT:
                self._beyond_doubles.add(field.name)

    def _require_few(self, columns: int) -> None:
        if columns > _MOST_COLUMNS:
            table, column = self._place
            raise ConfigurationError(
                f"the documents have more than {_MOST_COLUMNS:,} columns: names that are values",
                table=table,
                column=column,
                valid='declare those that are wanted, {"id": "integer", "city": "text"}',
            )

    def _undeclared(self, field: pa.Field, values: Sequence[Any]) -> ConfigurationError:
        """The error that says where a value is, and not which: the values of a report are not for logs."""
        number = next(n for n, value in enumerate(values, 1) if not holds_declared(field, value))
        kind = text_kind(field) or str(field.type)
        table, column = self._place
        return ConfigurationError(
            f"the value of {field.name!r} in row {self._rows + number} is no {kind}",
            table=table,
            column=f"{column}.{field.name}" if column.startswith("connection_config") else column,
            valid="declare a type that holds it",
        )


def _columns(documents: Sequence[Document]) -> dict[str, list[Any]]:
    """Dotted name → a value of each document, in order of first appearance."""
    columns: dict[str, list[Any]] = {}
    for number, document in enumerate(documents):
        for name, value in flattened(document):
            column = columns.setdefault(name, [])
            if len(column) < number:
                column.extend([None] * (number - len(column)))
            column[number:] = [value]
    for column in columns.values():
        column.extend([None] * (len(documents) - len(column)))
    return columns
