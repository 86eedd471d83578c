"""Databases that are files of this machine: below the folders that an operator has named, where one has.

ReportHub's own databases are files, too, with everybody's secrets: those are never opened for a row.
"""

from __future__ import annotations

from pathlib import Path

from reporthub_dagster.connectors.source_settings import SourceSettings
from reporthub_dagster.connectors.source_url import TABLE
from reporthub_dagster.reporting.errors import ConfigurationError


def database_file(name: str, settings: SourceSettings, product: str, row: int) -> Path:
    """The real path of a database, wherever links lead.

    Args:
        name: As the row has it.
        settings: For the folders that may be read, and ReportHub's own.
        product: For messages.
        row: Of the data source, for messages.

    Raises:
        ConfigurationError: It lies elsewhere, is ReportHub's own, or is not there.
    """

    def wrong(problem: str, valid: str) -> ConfigurationError:
        return ConfigurationError(problem, table=TABLE, row=row, column="connection_url", valid=valid)

    scheme = product.lower()
    valid = f"give the path of an existing file, {scheme}:////absolute/path or {scheme}:///relative/path"
    if name in ("", ":memory:") or "\0" in name:
        raise wrong(f"there is no {product} file {name!r}", valid)
    path = Path(name).resolve()
    if _is_below(path, settings.own_files):
        raise wrong(f"{name!r} is ReportHub's own", valid)
    if settings.file_roots and not _is_below(path, settings.file_roots):
        raise wrong(
            f"{name!r} is in none of the folders that may be read",
            f"an operator names them in REPORTHUB_FILE_ROOTS: {', '.join(map(str, settings.file_roots))}",
        )
    if not path.is_file():
        raise wrong(f"there is no {product} file {name!r}", valid)
    return path


def _is_below(path: Path, folders: tuple[Path, ...]) -> bool:
    return any(path.is_relative_to(folder.resolve()) for folder in folders)
