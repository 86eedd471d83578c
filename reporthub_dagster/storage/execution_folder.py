"""The execution's folder: where its spool and its files are, and everything else a retry needs."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from reporthub_dagster.reporting.records import Column, QueryResult
from reporthub_dagster.storage.atomic import TEMPORARY_SUFFIX, atomic_file

_WITNESS = r"spool(?:-\d+)?\.arrow|result(?:-\d+)?\.json|manifest\.json"
_OWN_FILE = re.compile(rf"{_WITNESS}|\..*{re.escape(TEMPORARY_SUFFIX)}")


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

    def spool(self, position: int = 0) -> Path:
        """The rows of a query, by its position among the report's."""
        return self.path / f"spool{_ending(position)}.arrow"

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

    def save_result(self, saved: SavedResult, position: int = 0) -> None:
        """Note that a spool is whole, and what is known about it.

        Raises:
            OSError: The output folder cannot be written.
        """
        result = {**asdict(saved.result), "spool": saved.result.spool.name}
        document = {"result": result, "sql": saved.sql, "binds": dict(saved.binds)}
        with atomic_file(self._result(position)) as file:
            file.write(json.dumps(document, indent=1).encode())

    def load_result(self, position: int = 0) -> SavedResult | None:
        """What an earlier attempt saved, or None."""
        if not (self._result(position).exists() and self.spool(position).exists()):
            return None
        document = json.loads(self._result(position).read_bytes())
        result = document["result"]
        result["spool"] = self.spool(position)
        result["columns"] = tuple(Column(**column) for column in result["columns"])
        result["warnings"] = tuple(result["warnings"])
        return SavedResult(QueryResult(**result), document["sql"], document["binds"])

    def load_results(self) -> list[SavedResult]:
        """What earlier attempts saved of each query, in their order."""
        found: list[SavedResult] = []
        while (saved := self.load_result(len(found))) is not None:
            found.append(saved)
        return found

    def forget_result(self, position: int = 0) -> None:
        """Before a spool is written anew: nothing may say that it, or a file made from it, is whole.

        Raises:
            OSError: The output folder cannot be written.
        """
        self.manifest.unlink(missing_ok=True)
        self._result(position).unlink(missing_ok=True)

    def _result(self, position: int) -> Path:
        return self.path / f"result{_ending(position)}.json"


def _ending(position: int) -> str:
    return f"-{position + 1}" if position else ""


def is_ours(path: Path) -> bool:
    """True for a folder that holds what ReportHub writes for an execution, and nothing else."""
    names = []
    for entry in path.iterdir():
        is_link = entry.is_symlink()
        if not is_link and entry.is_dir():
            known = entry.name == "files" or entry.name.endswith(TEMPORARY_SUFFIX)
            if not known or any(one.is_symlink() or not one.is_file() for one in entry.iterdir()):
                return False
        elif is_link or not _OWN_FILE.fullmatch(entry.name):
            return False
        names.append(entry.name)
    return "files" in names or any(re.fullmatch(_WITNESS, name) for name in names)
