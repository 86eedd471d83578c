"""The spool: the one copy of a query's result, an Arrow IPC file that every format and every retry reads.

The schema carries what Arrow has no type for as field metadata, key `reporthub.kind`:

* `decimal`: a utf8 column of exact decimal numbers whose precision the source did not declare
  (PostgreSQL's bare `numeric`, SQLite's `DECIMAL`); also `NaN` and `±Infinity` where the source has them.
* `json`: a utf8 column of JSON documents, as the source wrote them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import pyarrow as pa

from reporthub_dagster.reporting.records import Column
from reporthub_dagster.storage.atomic import atomic_path

KIND = b"reporthub.kind"
_LONGEST_NAME = 1_000
TextKind = Literal["decimal", "json"]


def text_field(name: str, kind: TextKind) -> pa.Field:
    """A utf8 field whose text is an exact decimal or a JSON document."""
    return pa.field(name, pa.utf8(), metadata={KIND: kind.encode()})


def text_kind(field: pa.Field) -> TextKind | None:
    """What the text of a field means, or None for plain text and every other type."""
    kind = (field.metadata or {}).get(KIND, b"").decode()
    return kind if kind in ("decimal", "json") else None


def columns_of(schema: pa.Schema) -> tuple[Column, ...]:
    """The columns of a schema as records; text kinds are named instead of `string`."""
    return tuple(Column(field.name, text_kind(field) or str(field.type)) for field in schema)


def distinct_names(names: list[str], form: Callable[[str], str] = str) -> list[str]:
    """Names as a result may have them, made usable: `""` → `column_3`, a second `id` → `id_2`.

    Names are kept with the execution and in Dagster's events: what is beyond 1,000 characters is cut.

    Args:
        names: As they came.
        form: No two names have the same; `str.lower` where a reader does not tell `ID` from `id`.
    """
    names = [name[:_LONGEST_NAME] for name in names]
    given = {form(name) for name in names}
    taken: set[str] = set()
    counts: dict[str, int] = {}
    result = []
    for position, raw in enumerate(names, start=1):
        base = raw or f"column_{position}"
        count = counts.get(form(base), 1)
        name = base if count == 1 else f"{base}_{count}"
        while form(name) in taken or (count > 1 and form(name) in given):
            count += 1
            name = f"{base}_{count}"
        counts[form(base)] = count
        taken.add(form(name))
        result.append(name)
    return result


class SpoolWriter:
    """Appends record batches to a spool that is not visible before it is whole."""

    def __init__(self, file: pa.NativeFile, schema: pa.Schema) -> None:
        self.row_count = 0
        self._writer = pa.ipc.new_file(file, schema)

    def write(self, batch: pa.RecordBatch) -> None:
        """Append one batch of the spool's schema."""
        self._writer.write_batch(batch)
        self.row_count += batch.num_rows

    def close(self) -> None:
        """Write the footer."""
        self._writer.close()


@contextmanager
def new_spool(path: Path, schema: pa.Schema) -> Iterator[SpoolWriter]:
    """Write a spool whole or not at all.

    Raises:
        OSError: The folder cannot be written, or the disk is full.
    """
    with atomic_path(path) as temporary, pa.OSFile(str(temporary), "wb") as file:
        writer = SpoolWriter(file, schema)
        yield writer
        writer.close()


@dataclass(frozen=True)
class Spool:
    """A finished spool, read batch by batch in bounded memory."""

    path: Path
    schema: pa.Schema
    row_count: int

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read the footer of a spool; its rows stay on disk."""
        with pa.OSFile(str(path), "rb") as file:
            reader = pa.ipc.open_file(file)
            return cls(path, reader.schema, reader.count_rows())

    def batches(self, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The rows in order; with `columns`, only these and in this order."""
        with pa.OSFile(str(self.path), "rb") as file:
            reader = pa.ipc.open_file(file)
            for index in range(reader.num_record_batches):
                batch = reader.get_batch(index)
                yield batch.select(columns) if columns is not None else batch

    def head(self, rows: int) -> pa.Table:
        """The first `rows` rows."""
        taken: list[pa.RecordBatch] = []
        missing = rows
        for batch in self.batches():
            if missing <= 0:
                break
            taken.append(batch.slice(0, missing))
            missing -= taken[-1].num_rows
        return pa.Table.from_batches(taken, self.schema)
