"""A folder as rows name it: with `{{variables}}`, nothing outside it, and errors that say what to change."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath

from reporthub_dagster.reporting.errors import (
    ConfigurationError,
    PermanentError,
    ReportHubError,
    TransientError,
)
from reporthub_dagster.reporting.text_template import fill

_SEPARATORS = ("/", "\\", "\0")
_RIGHTS = ("may not be written by this process", "give its user the right to write there")
_CURES = {
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EROFS: ("is mounted read-only", "mount it for writing"),
    errno.ENOENT: ("does not exist", "mount or create it, or set delivery_config.create_directory to true"),
    errno.ENOTDIR: ("is not a folder", "give the path of a folder"),
    errno.EISDIR: ("holds a folder with the file's name", "rename or remove that folder"),
    errno.ENAMETOOLONG: ("cannot hold such a long name", "shorten the path or the file's name"),
    errno.EFBIG: ("does not take a file of this size", "narrow the report, or use another file system"),
    errno.EINVAL: ("does not take a file of this name", "use a name that its file system knows"),
    errno.ELOOP: ("is a circle of links", "give the real path"),
}
"""What a person must change. Other errors may pass: a full disk, a stale handle, a server that is away."""


@dataclass(frozen=True, slots=True)
class Folder:
    """An absolute path whose parts may hold variables, and the place in the rows where a person finds it."""

    template: str
    table: str
    row: int
    column: str

    @property
    def base(self) -> Path:
        """The part before the first variable: what a person made, not a report."""
        base = Path()
        for part in PurePath(self.template).parts:
            if "{" in part:
                break
            base /= part
        return base

    def filled(self, values: Mapping[str, str]) -> Path:
        """The folder with these values; a name that has none stays as written.

        A value can name a folder, never a way to one: with a separator in it, or as a whole `..`, it is
        refused.

        Raises:
            PermanentError: A value, or a link on the way, would lead out of the base.
        """
        base = self.base
        folder = base
        for part in PurePath(self.template).parts[len(base.parts) :]:
            folder /= filled_part(part, values)
        if not folder.resolve().is_relative_to(base.resolve()):
            raise PermanentError(f"the folder {folder} leads out of {base} by a link; nothing was written")
        return folder

    def failure(self, error: OSError) -> ReportHubError:
        """What the file system said, as an error of ours."""
        known = _CURES.get(error.errno or 0)
        if known is None:
            return TransientError(f"the folder {self.base} cannot be written now: {error.strerror or error}")
        problem, cure = known
        return ConfigurationError(
            f"the folder {problem}",
            table=self.table,
            row=self.row,
            column=self.column,
            value=error.filename if isinstance(error.filename, str) else str(self.base),
            valid=cure,
        )


def filled_part(part: str, values: Mapping[str, str]) -> str:
    """One part of a path with these values.

    Raises:
        PermanentError: It could name something elsewhere, or nothing.
    """
    name = fill(part, values).text.strip()
    if name in ("", ".", "..") or any(separator in name for separator in _SEPARATORS):
        raise PermanentError(f"the part {part} of the path became {name!r}, which cannot name a folder")
    return name
