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

_WITNESS = (
    r"(?:source-\w+-)?(?:spool(?:-\d+)?\.arrow|result(?:-\d+)?\.json)|shaped(?:-\d+)?\.arrow|shape\.json"
    r"|manifest\.json"
)
_OWN_FILE = re.compile(rf"{_WITNESS}|\..*{re.escape(TEMPORARY_SUFFIX)}")


Which = int | str
"""A query's position among the report's, or the name of a source that they join."""


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
class SavedShape:
    """What a script made of the rows.

    Attributes:
        results: By the position of the query; a query that is not in it keeps its own rows.
        milliseconds: How long the script took.
        made_from: Digest of all that the results depend on.
    """

    results: Mapping[int, QueryResult]
    milliseconds: int
    made_from: str


@dataclass(frozen=True, slots=True)
class ExecutionFolder:
    """Paths of one execution below the output folder; nothing is created before it is asked for."""

    path: Path

    def spool(self, which: Which = 0) -> Path:
        """The rows of a query."""
        return self.path / _named("spool", which, "arrow")

    def shaped(self, position: int = 0) -> Path:
        """What a script made of the rows of a query."""
        return self.path / _named("shaped", position, "arrow")

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

    def save_result(self, saved: SavedResult, which: Which = 0) -> None:
        """Note that a spool is whole, and what is known about it.

        Raises:
            OSError: The output folder cannot be written.
        """
        document = {"result": _to_json(saved.result), "sql": saved.sql, "binds": dict(saved.binds)}
        with atomic_file(self._result(which)) as file:
            file.write(json.dumps(document, indent=1).encode())

    def load_result(self, which: Which = 0) -> SavedResult | None:
        """What an earlier attempt saved, or None."""
        if not (self._result(which).exists() and self.spool(which).exists()):
            return None
        document = json.loads(self._result(which).read_bytes())
        result = _from_json(document["result"], self.spool(which))
        return SavedResult(result, document["sql"], document["binds"])

    def load_results(self) -> list[QueryResult]:
        """The rows of each query as files show them, in their order: as the script left them."""
        shape = self.load_shape()
        shaped = shape.results if shape else {}
        found: list[QueryResult] = []
        while (saved := self.load_result(len(found))) is not None:
            found.append(shaped.get(len(found), saved.result))
        return found

    def save_shape(self, saved: SavedShape) -> None:
        """Note that a script has run, and what it made.

        Raises:
            OSError: The output folder cannot be written.
        """
        results = {position: _to_json(result) for position, result in saved.results.items()}
        document = {"results": results, "milliseconds": saved.milliseconds, "made_from": saved.made_from}
        with atomic_file(self._shape) as file:
            file.write(json.dumps(document, indent=1).encode())

    def load_shape(self) -> SavedShape | None:
        """What an earlier attempt's script made, or None."""
        if not self._shape.exists():
            return None
        document = json.loads(self._shape.read_bytes())
        results = {
            int(position): _from_json(result, self.shaped(int(position)))
            for position, result in document["results"].items()
        }
        if not all(result.spool.exists() for result in results.values()):
            return None
        return SavedShape(results, document["milliseconds"], document["made_from"])

    def forget_shape(self) -> None:
        """Before a script runs anew, or where there is none any more: no file may be made of what was.

        Raises:
            OSError: The output folder cannot be written.
        """
        if self._shape.exists():
            self.manifest.unlink(missing_ok=True)
            self._shape.unlink()

    def forget_result(self, which: Which = 0) -> None:
        """Before a spool is written anew: nothing may say that it, or a file made from it, is whole.

        Raises:
            OSError: The output folder cannot be written.
        """
        self.manifest.unlink(missing_ok=True)
        self._result(which).unlink(missing_ok=True)
        self._shape.unlink(missing_ok=True)

    @property
    def _shape(self) -> Path:
        return self.path / "shape.json"

    def _result(self, which: Which) -> Path:
        return self.path / _named("result", which, "json")


def _named(what: str, which: Which, ending: str) -> str:
    if isinstance(which, str):
        return f"source-{which}-{what}.{ending}"
    return f"{what}-{which + 1}.{ending}" if which else f"{what}.{ending}"


def _to_json(result: QueryResult) -> dict[str, Any]:
    return {**asdict(result), "spool": result.spool.name}


def _from_json(document: Mapping[str, Any], spool: Path) -> QueryResult:
    columns = tuple(Column(**column) for column in document["columns"])
    changed = {"spool": spool, "columns": columns, "warnings": tuple(document["warnings"])}
    return QueryResult(**{**document, **changed})


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
