"""A file that knows the SHA-256 of what was written to it, without being read again where it need not be."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class DigestedFile(io.BufferedWriter):
    """A new file, open for writing; its bytes are digested as they come, while a core's cache has them.

    A format that goes back to fill in what it did not know before is read again by `sha256`.

    Args:
        path: Must not exist yet.

    Raises:
        OSError: It exists or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path, "x"))
        self._path = path
        self._digest = hashlib.sha256()
        self._straight_on = True

    def write(self, data: ReadableBuffer, /) -> int:
        """See `io.BufferedWriter.write`."""
        if self._straight_on:
            self._digest.update(data)
        return super().write(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """See `io.BufferedWriter.seek`."""
        self._straight_on = False
        return super().seek(offset, whence)

    def sha256(self) -> str:
        """The hex digest of the whole file, once it is closed."""
        if self._straight_on:
            return self._digest.hexdigest()
        with self._path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
