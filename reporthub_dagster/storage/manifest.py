"""`manifest.json`: which files an execution has and how to recognise them; written last, whole or not at all.

While there is one, every file that it names was whole. Its schema, version 1:

    {"version": 1, "made_from": "…", "files": [
      {"name": "sales.csv", "format": "csv", "media_type": "text/csv", "size": 120, "sha256": "…",
       "row_count": 3, "truncated": false, "options": {"delimiter": ";"}, "warnings": []}]}

`name` is a file in the folder `files` beside it. `made_from` is a digest of everything besides the rows that
the bytes depend on. A reader refuses a higher version; fields are added without a new one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from reporthub_dagster.reporting.errors import PermanentError
from reporthub_dagster.reporting.records import RenderedFile
from reporthub_dagster.storage.atomic import atomic_file
from reporthub_dagster.storage.execution_folder import ExecutionFolder

_AGAIN = "run the report again"


class _File(BaseModel):
    model_config = ConfigDict(frozen=True)

    name: str
    format: str
    media_type: str
    size: int
    sha256: str
    row_count: int
    truncated: bool
    options: Mapping[str, Any]
    warnings: tuple[str, ...]

    @field_validator("name")
    @classmethod
    def _bare(cls, name: str) -> str:
        if PurePath(name).name != name:
            raise ValueError("not the name of a file")
        return name


class _Manifest(BaseModel):
    model_config = ConfigDict(frozen=True)

    version: Literal[1] = 1
    made_from: str
    files: tuple[_File, ...]


def write_manifest(folder: ExecutionFolder, files: Sequence[RenderedFile], *, made_from: str) -> None:
    """Note that the files are whole, and remove what earlier attempts left beside them.

    Raises:
        OSError: The output folder cannot be written.
    """
    entries = tuple(_File.model_validate(file, from_attributes=True) for file in files)
    document = _Manifest(made_from=made_from, files=entries)
    names = {file.name for file in files}
    for other in folder.files.iterdir():
        if other.name not in names and other.is_file():
            other.unlink(missing_ok=True)
    with atomic_file(folder.manifest) as target:
        target.write(document.model_dump_json(indent=1).encode())


def read_manifest(folder: ExecutionFolder) -> tuple[RenderedFile, ...]:
    """The files of an execution, each checked to hold the bytes that were rendered.

    Raises:
        PermanentError: There is no manifest, it is not one that this release reads, or a file is gone or has
            changed.
        OSError: A file cannot be read.
    """
    document = _read(folder)
    if document is None:
        raise PermanentError(f"the execution has no {folder.manifest.name}: {_AGAIN}")
    return tuple(_checked(folder, entry) for entry in document.files)


def files_made_from(folder: ExecutionFolder, made_from: str) -> tuple[RenderedFile, ...] | None:
    """The files that an earlier attempt made from the same, if all of them still hold the same bytes.

    Raises:
        OSError: A file cannot be read.
    """
    try:
        document = _read(folder)
        if document is None or document.made_from != made_from:
            return None
        return tuple(_checked(folder, entry) for entry in document.files)
    except PermanentError:
        return None


def _read(folder: ExecutionFolder) -> _Manifest | None:
    try:
        return _Manifest.model_validate_json(folder.manifest.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as invalid:
        first = invalid.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise PermanentError(f"{folder.manifest} cannot be used: {place}: {first['msg']}; {_AGAIN}") from None


def _checked(folder: ExecutionFolder, entry: _File) -> RenderedFile:
    path = folder.files / entry.name
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise PermanentError(f"the rendered file {entry.name} is gone: {_AGAIN}") from None
    if digest != entry.sha256:
        raise PermanentError(f"the file {entry.name} changed after it was rendered: {_AGAIN}")
    return RenderedFile(path=path, **dict(entry))
