"""The execution's folder: where its spool and its files are, and everything else a retry needs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from reporthub_dagster.reporting.records import Column, QueryResult, RenderedFile
from reporthub_dagster.storage.atomic import TEMPORARY_SUFFIX, atomic_file


@dataclass(frozen=True, slots=True)
class SavedResult:
    """What is known about a whole spool.

    Attributes:
        sql: The query as it ran, its values as `:names`.
        binds: Name → value, as JSON has it.
    """

    result: QueryResult
    sql: str
    binds: Mapping[str, Any]


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

    @property
    def manifest(self) -> Path:
        """Says which files are whole; see `storage.manifest`."""
        return self.path / "manifest.json"

    def create(self) -> None:
        """Make the folders and remove what an attempt that died left half-written.

        Raises:
            OSError: The output folder cannot be written.
        """
        self.files.mkdir(parents=True, exist_ok=True)
        for leftover in list(self.path.rglob(f".*{TEMPORARY_SUFFIX}")):
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder for what is only on its way to a file; gone afterwards.

        Raises:
            OSError: The output folder cannot be written.
        """
        with TemporaryDirectory(prefix=".", suffix=TEMPORARY_SUFFIX, dir=self.path) as folder:
            yield Path(folder)

    def save_result(self, saved: SavedResult) -> None:
        """Note that the spool is whole, and what is known about it.

        Raises:
            OSError: The output folder cannot be written.
        """
        result = {**asdict(saved.result), "spool": saved.result.spool.name}
        document = {"result": result, "sql": saved.sql, "binds": dict(saved.binds)}
        with atomic_file(self._result) as file:
            file.write(json.dumps(document, indent=1).encode())

    def load_result(self) -> SavedResult | None:
        """What an earlier attempt saved, or None."""
        if not (self._result.exists() and self.spool.exists()):
            return None
        document = json.loads(self._result.read_bytes())
        result = document["result"]
        result["spool"] = self.spool
        result["columns"] = tuple(Column(**column) for column in result["columns"])
        result["warnings"] = tuple(result["warnings"])
        return SavedResult(QueryResult(**result), document["sql"], document["binds"])

    def save_files(self, files: Sequence[RenderedFile]) -> None:
        """Note which files are delivered, and how to recognise their bytes.

        Raises:
            OSError: The output folder cannot be written.
        """
        documents = [{**asdict(file), "path": str(file.path.relative_to(self.path))} for file in files]
        with atomic_file(self._manifest) as out:
            out.write(json.dumps({"files": documents}, indent=1).encode())

    def load_files(self) -> tuple[RenderedFile, ...]:
        """What was noted; nothing where there is no note."""
        if not self._manifest.exists():
            return ()
        documents = json.loads(self._manifest.read_bytes())["files"]
        return tuple(
            RenderedFile(
                **{
                    **document,
                    "path": self.path / document["path"],
                    "warnings": tuple(document["warnings"]),
                }
            )
            for document in documents
        )

    @property
    def _manifest(self) -> Path:
        return self.path / "files.json"

    @property
    def _result(self) -> Path:
        return self.path / "result.json"
