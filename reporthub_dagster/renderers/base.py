"""What every renderer is and does: one file format, written from a spool, whole or not at all."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

from reporthub_dagster.reporting.records import RenderedFile, TimeWindow
from reporthub_dagster.storage.atomic import atomic_path
from reporthub_dagster.storage.spool import Spool


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
        written at once, which the class says.

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
