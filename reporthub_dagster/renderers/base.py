"""What every renderer is and does: one file format, written from a spool, whole or not at all."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import pyarrow as pa

from reporthub_dagster.reporting.records import RenderedFile, TimeWindow
from reporthub_dagster.storage.atomic import atomic_path
from reporthub_dagster.storage.spool import Spool

_SLICE_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class RenderRequest:
    """What to write.

    Attributes:
        title: The report's name.
        window: The window that the rows cover; its zone is the one in which instants are shown.
        columns: Columns to show, in this order; all of them exist in the spool.
        truncated: True when the source had more rows than the report may have: the file says so where the
            format has room for a remark (a title page, a document), never as a row of data.
        options: `parameters.format`, each renderer's own names.
    """

    title: str
    window: TimeWindow
    columns: tuple[str, ...]
    truncated: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)


class Remarks:
    """Collects what a renderer altered, by column, so that each kind of change is told once."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()

    def note(self, column: str, change: str, cells: int = 1) -> None:
        """Remember that `change` happened to `cells` cells of `column`."""
        if cells:
            self._counts[column, change] += cells

    def sentences(self) -> tuple[str, ...]:
        """One sentence for each column and change, in the order of their first appearance."""
        return tuple(
            f"column {column!r}: {change} ({cells:,} {'cell' if cells == 1 else 'cells'})"
            for (column, change), cells in self._counts.items()
        )


class Renderer(ABC):
    """One file format."""

    format: ClassVar[str]
    """The word of `report_configs.output_format`."""
    extension: ClassVar[str]
    """Without the dot."""
    media_type: ClassVar[str]

    @abstractmethod
    def write(self, spool: Spool, request: RenderRequest, file: BinaryIO) -> tuple[str, ...]:
        """Write the whole file; returns what was altered on the way, one sentence each.

        Rows are read in batches: memory does not grow with their number, except where the format has to be
        written at once, which the class says. The same spool and request give the same bytes. `file` is open
        under its temporary name in the target's folder; scratch files belong beside it and are removed.

        Raises:
            ConfigurationError: An option is not valid; names `report_configs` and `parameters.format`.
            PermanentError: The result cannot be shown in this format (too many columns, say).
            OSError: The file cannot be written.
        """

    def render(self, spool: Spool, request: RenderRequest, target: Path) -> RenderedFile:
        """Write `target` whole or not at all.

        Raises:
            ConfigurationError, PermanentError, OSError: As `write`.
        """
        with atomic_path(target) as temporary:
            with temporary.open("xb") as file:
                warnings = self.write(spool, request, file)
            size = temporary.stat().st_size
            with temporary.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        return RenderedFile(
            path=target,
            name=target.name,
            format=self.format,
            media_type=self.media_type,
            size=size,
            sha256=digest,
            row_count=spool.row_count,
            warnings=warnings,
        )


def slices(spool: Spool, columns: tuple[str, ...], *, rows: int = 16_384) -> Iterator[pa.RecordBatch]:
    """The rows of a spool, these columns in this order, in pieces small enough to build text from.

    A piece has at most `rows` rows, and fewer when its cells are large (one row at least).
    """
    for batch in spool.batches(list(columns)):
        for start in range(0, batch.num_rows, rows):
            yield from _halved(batch.slice(start, rows))


def _halved(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    if batch.num_rows < 2 or batch.nbytes <= _SLICE_BYTES:  # noqa: PLR2004 - two rows are the least to part
        yield batch
        return
    middle = batch.num_rows // 2
    yield from _halved(batch.slice(0, middle))
    yield from _halved(batch.slice(middle))
