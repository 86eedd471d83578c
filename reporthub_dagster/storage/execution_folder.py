"""The execution's folder: where its spool and its files are, and everything else a retry needs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from reporthub_dagster.reporting.records import Column, QueryResult
from reporthub_dagster.storage.atomic import TEMPORARY_SUFFIX, atomic_file


@dataclass(frozen=True, slots=True)
class ExecutionFolder:
    """Paths of one execution below the output folder; nothing is created before it is asked for."""

    path: Path

    @property
    def spool(self) -> Path:
        """The rows of the query."""
        return self.path / "spool.arrow"

    @property
    def files(self) -> Path:
        """Folder of the rendered files."""
        return self.path / "files"

    def create(self) -> None:
        """Make the folders and remove what an attempt that died left half-written.

        Raises:
            OSError: The output folder cannot be written.
        """
        self.files.mkdir(parents=True, exist_ok=True)
        for leftover in self.path.rglob(f".*{TEMPORARY_SUFFIX}"):
            leftover.unlink(missing_ok=True)

    def save_result(self, result: QueryResult) -> None:
        """Note that the spool is whole, and what is known about it.

        Raises:
            OSError: The output folder cannot be written.
        """
        document = {**asdict(result), "spool": result.spool.name}
        with atomic_file(self._result) as file:
            file.write(json.dumps(document, indent=1).encode())

    def load_result(self) -> QueryResult | None:
        """The result that an earlier attempt saved, or None."""
        if not (self._result.exists() and self.spool.exists()):
            return None
        document = json.loads(self._result.read_bytes())
        document["spool"] = self.spool
        document["columns"] = tuple(Column(**column) for column in document["columns"])
        document["warnings"] = tuple(document["warnings"])
        return QueryResult(**document)

    @property
    def _result(self) -> Path:
        return self.path / "result.json"
