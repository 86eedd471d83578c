"""Databases that are files of this machine: below the folders that an operator has named, where one has.

ReportHub's own databases are files, too, with everybody's secrets: those are never opened for a row.
"""

from __future__ import annotations

from pathlib import Path

from reporthub_dagster.connectors.source_settings import SourceSettings


class NotReadableError(Exception):
    """A file that a row may not name; `valid` says what would help."""

    def __init__(self, problem: str, valid: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.valid = valid


def database_file(name: str, settings: SourceSettings, product: str) -> Path:
    """The real path of a database, wherever links lead.

    Args:
        name: As the row has it.
        settings: For the folders that may be read, and ReportHub's own.
        product: For messages.

    Raises:
        NotReadableError: It lies elsewhere, is ReportHub's own, or is not there.
    """
    scheme = product.lower()
    valid = f"give the path of an existing file, {scheme}:////absolute/path or {scheme}:///relative/path"
    if name in ("", ":memory:") or "\0" in name:
        raise NotReadableError(f"there is no {product} file {name!r}", valid)
    path = Path(name).resolve()
    if _is_below(path, settings.own_files):
        raise NotReadableError(f"{name!r} is ReportHub's own", valid)
    if settings.file_roots and not _is_below(path, settings.file_roots):
        raise NotReadableError(
            f"{name!r} is in none of the folders that may be read",
            f"an operator names them in REPORTHUB_FILE_ROOTS: {', '.join(map(str, settings.file_roots))}",
        )
    if not path.is_file():
        raise NotReadableError(f"there is no {product} file {name!r}", valid)
    return path


def _is_below(path: Path, folders: tuple[Path, ...]) -> bool:
    return any(path.is_relative_to(folder.resolve()) for folder in folders)
