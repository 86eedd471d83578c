"""The result of a server that sends its values as text: settled columns, batches, and what was tolerated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from reporthub_dagster.connectors.arrow_columns import TextColumn, batch_of, text
from reporthub_dagster.connectors.base import QueryLimits
from reporthub_dagster.connectors.sql import SQLConnector, SQLStream

BATCH_BYTES = 16 * 1024 * 1024
"""A batch ends here even when it has few rows: a row may be wide."""
BATCH_SECONDS = 1.0
"""And here: a slow query shows its progress and its deadline is looked at."""


class TextStream(SQLStream):
    """A result whose values come as text, to be cast column by column."""

    def __init__(self, connector: SQLConnector[Any], limits: QueryLimits) -> None:
        super().__init__(connector, limits)
        self._columns: list[TextColumn] = []
        self._lost: list[int] = []

    def describe(self, columns: Sequence[TextColumn], wider: Mapping[int, pa.Field]) -> None:
        """Settle the columns: as declared, or as text where an earlier reading found that it takes text."""
        self._columns = [
            text(wider[position]) if position in wider else column for position, column in enumerate(columns)
        ]
        self._lost = [0] * len(columns)
        self.schema = pa.schema([column.field for column in self._columns])
        self._notes += tuple(
            f"column {columns[position].field.name!r} is text: it holds values that its declared type, "
            f"{columns[position].field.type}, cannot hold"
            for position in wider
        )
        self.warnings = self._notes

    def batch(self, cells: Sequence[pa.Array]) -> pa.RecordBatch:
        """A record batch from the columns' bytes; keeps `warnings` up to date."""
        made = batch_of(self._columns, cells, self._lost)
        self.warnings = self._notes + tuple(
            f"column {column.field.name!r}: {count} values that are no date of the years 1 to 9999 are empty"
            for column, count in zip(self._columns, self._lost, strict=True)
            if count
        )
        return made
