"""What was rendered, delivered again: the files of an execution's folder, proved to be the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reporthub_dagster.db.ledger_entries import Entry
from reporthub_dagster.reporting.errors import ConfigurationError, PermanentError
from reporthub_dagster.reporting.records import Execution, QueryResult, RenderedFile
from reporthub_dagster.storage.execution_folder import ExecutionFolder
from reporthub_dagster.storage.manifest import read_manifest


@dataclass(frozen=True, slots=True)
class Archive:
    """What an earlier run of an execution made."""

    files: tuple[RenderedFile, ...]
    results: tuple[QueryResult, ...]


def open_archive(execution: Execution, folder: ExecutionFolder) -> Archive:
    """The files of an execution, byte for byte as they were rendered.

    Raises:
        PermanentError: They are gone, or they are not what was rendered; says how to make them anew.
    """
    try:
        files = read_manifest(folder)
    except PermanentError as error:
        raise PermanentError(
            f"nothing of execution {execution.id} can be delivered again: {error}: "
            f"reporthub run {execution.config_id}"
        ) from None
    return Archive(tuple(files), tuple(folder.load_results()))


def require_missing(entries: Sequence[Entry], recipient: str) -> None:
    """Make sure that a recipient whom a person names has not got it yet.

    Raises:
        ConfigurationError: They have.
    """
    known = [entry for entry in entries if entry.recipient.casefold() == recipient.casefold()]
    if known and all(entry.state == "sent" for entry in known):
        raise ConfigurationError(
            f"has got it already ({known[0].detail})", column="recipient", value=recipient
        )
