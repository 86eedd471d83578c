"""What was rendered, delivered again: the files of an execution's folder, proved to be the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import file_digest

from reporthub_dagster.db.deliveries import Entry
from reporthub_dagster.reporting.errors import ConfigurationError, PermanentError
from reporthub_dagster.reporting.records import Execution, QueryResult, RenderedFile
from reporthub_dagster.storage.execution_folder import ExecutionFolder


@dataclass(frozen=True, slots=True)
class Archive:
    """What an earlier run of an execution made."""

    files: tuple[RenderedFile, ...]
    result: QueryResult


def open_archive(execution: Execution, folder: ExecutionFolder) -> Archive:
    """The files of an execution, byte for byte as they were rendered.

    Raises:
        PermanentError: They are gone, or they are not what was rendered; says how to make them anew.
    """
    cure = f"run the report again: reporthub run {execution.config_id}"
    files, saved = folder.load_files(), folder.load_result()
    if not files or saved is None:
        raise PermanentError(
            f"the folder of execution {execution.id} holds no files to deliver, they were removed or never "
            f"made ({folder.path}): {cure}"
        )
    for file in files:
        if not file.path.exists():
            raise PermanentError(f"{file.path} is gone: {cure}")
        with file.path.open("rb") as source:
            digest = file_digest(source, "sha256").hexdigest()
        if digest != file.sha256:
            raise PermanentError(f"{file.path} is not what was rendered any more: {cure}")
    return Archive(files, saved.result)


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
