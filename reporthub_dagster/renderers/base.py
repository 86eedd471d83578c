"""What every renderer is and does: one file format, written from a spool, whole or not at all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import pyarrow as pa

from reporthub_dagster.renderers.options import PLACE, read_options
from reporthub_dagster.reporting.records import RenderedFile, TimeWindow
from reporthub_dagster.storage.atomic import atomic_path
from reporthub_dagster.storage.digested import DigestedFile
from reporthub_dagster.storage.spool import Spool

_SLICE_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Section:
    """The rows of one query, as a sheet, a table or a whole file.

    Attributes:
        name: The sheet's name; empty for a report of one query.
        spool: The rows.
        columns: Columns to show, in this order; all of them exist in the spool.
        truncated: True when the source had more rows than the report may have: the file says so where the
            format has room for a remark (a title page, a document), never as a row of data.
        query: The query as its row has it, with the names of its values and never the values.
    """

    name: str
    spool: Spool
    columns: tuple[str, ...]
    truncated: bool = False
    query: str = ""

    @property
    def row_count(self) -> int:
        """How many rows there are."""
        return self.spool.row_count

    @property
    def fields(self) -> list[pa.Field]:
        """The columns with their types."""
        return [self.spool.schema.field(name) for name in self.columns]

    @property
    def schema(self) -> pa.Schema:
        """The columns as a schema."""
        return pa.schema(self.fields)

    def slices(self, rows: int = 16_384) -> Iterator[pa.RecordBatch]:
        """The rows, these columns in this order, in pieces small enough to build text from.

        A piece has at most `rows` rows, and fewer when its cells are large (one row at least).
        """
        for batch in self.spool.batches(list(self.columns)):
            for start in range(0, batch.num_rows, rows):
                yield from _halved(batch.slice(start, rows))


@dataclass(frozen=True, slots=True)
class RenderRequest:
    """What to write.

    Attributes:
        title: The report's name.
        window: The window that the rows cover; its zone is the one in which instants are shown.
        sections: One for each query, at least one; only one where the renderer's `holds_sections` is false.
        options: `parameters.format` as it was given: see `RenderOptions`.
    """

    title: str
    window: TimeWindow
    sections: tuple[Section, ...]
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def row_count(self) -> int:
        """How many rows all sections have."""
        return sum(section.row_count for section in self.sections)

    @property
    def truncated(self) -> bool:
        """True when one of the sections is."""
        return any(section.truncated for section in self.sections)

    @property
    def only_section(self) -> Section:
        """The one section of a format that holds no more.

        Raises:
            ValueError: There are several.
        """
        (section,) = self.sections
        return section


class Remarks:
    """Collects what a renderer altered, by column, so that each kind of change is told once."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        self._first_rows: dict[tuple[str, str], int] = {}
        self._of_title: dict[str, None] = {}

    def note(self, column: str, change: str, cells: int = 1, first_row: int = 0) -> None:
        """Remember that `change` happened to `cells` cells of `column`, first in row `first_row`, from 1."""
        if cells:
            self._counts[column, change] += cells
        if first_row:
            self._first_rows.setdefault((column, change), first_row)

    def say(self, column: str, remark: str) -> None:
        """Remember a remark about a whole column."""
        self._counts[column, remark] += 0

    def say_of_title(self, remark: str) -> None:
        """Remember a remark about the title of the report or of a section."""
        self._of_title[remark] = None

    def sentences(self) -> tuple[str, ...]:
        """The title's, then one for each column and change, in the order of their first appearance."""
        return (
            *(f"title: {remark}" for remark in self._of_title),
            *(
                f"column {column!r}: {change}{_counted(cells, self._first_rows.get((column, change), 0))}"
                for (column, change), cells in self._counts.items()
            ),
        )


def _counted(cells: int, first_row: int) -> str:
    if not cells:
        return ""
    where = f", {'in' if cells == 1 else 'the first in'} row {first_row:,}" if first_row else ""
    return f" ({cells:,} {'cell' if cells == 1 else 'cells'}{where})"


class Renderer(ABC):
    """One file format."""

    format: ClassVar[str]
    """The word of `report_configs.output_format`."""
    extension: ClassVar[str]
    """Without the dot."""
    media_type: ClassVar[str]
    holds_sections: ClassVar[bool]
    """True when one file holds several sections; else each section is a file of its own."""
    honours: ClassVar[frozenset[str]]
    """The rendering options that mean something in this format."""

    @abstractmethod
    def write(self, request: RenderRequest, file: BinaryIO) -> tuple[str, ...]:
        """Write the whole file; returns what was altered on the way, one sentence each.

        Rows are read in batches: memory does not grow with their number, except where the format has to be
        written at once, which the class says. The same spools and request give the same bytes. `file` is open
        under its temporary name in the target's folder; scratch files belong beside it and are removed.

        Raises:
            ConfigurationError: An option is not valid; names `report_configs` and `parameters.format`.
            PermanentError: The result cannot be shown in this format (too many columns, say).
            OSError: The file cannot be written.
        """

    def render(self, request: RenderRequest, target: Path) -> RenderedFile:
        """Write `target` whole or not at all.

        Raises:
            ConfigurationError, PermanentError, OSError: As `write`.
        """
        with atomic_path(target) as temporary:
            with DigestedFile(temporary) as file:
                warnings = self._without_effect(request) + self.write(request, file)
            size, digest = temporary.stat().st_size, file.sha256()
        return RenderedFile(
            path=target,
            name=target.name,
            format=self.format,
            media_type=self.media_type,
            size=size,
            sha256=digest,
            row_count=request.row_count,
            warnings=warnings,
        )

    def _without_effect(self, request: RenderRequest) -> tuple[str, ...]:
        """Sentences about options that this file cannot honour."""
        options = read_options(request.options)
        given = [name for name in type(options).model_fields if name in options.model_fields_set]
        known = {column for section in request.sections for column in section.columns}
        return (
            *(f"{PLACE}.{name} has no effect in {self.format}" for name in given if name not in self.honours),
            *(
                f"{PLACE}.{name} names {column!r}, which the report does not show"
                for name, columns in options.columns().items()
                for column in sorted(columns - known)
                if name in self.honours
            ),
        )


def _halved(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    if batch.num_rows < 2 or batch.nbytes <= _SLICE_BYTES:  # noqa: PLR2004 - two rows are the least to part
        yield batch
        return
    middle = batch.num_rows // 2
    yield from _halved(batch.slice(0, middle))
    yield from _halved(batch.slice(middle))
