"""The bytes of a parcel's files, checked against what was rendered while they are read."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import file_digest, sha256
from pathlib import Path
from typing import BinaryIO

from reporthub_dagster.reporting.errors import PermanentError, TransientError
from reporthub_dagster.reporting.records import RenderedFile

_CHUNK = 1 << 20


def chunks_of(file: RenderedFile) -> Iterator[bytes]:
    """The file's bytes in pieces of at most 1 MiB.

    Raises:
        PermanentError: The file is gone; or, after the last piece, it is not what was rendered.
        TransientError: It cannot be read now.
    """
    digest = sha256()
    with _opened(file) as source:
        while chunk := _piece(source, file):
            digest.update(chunk)
            yield chunk
    if digest.hexdigest() != file.sha256.lower():
        raise PermanentError(f"the file {file.name} changed after it was rendered: run the report again")


def is_same(path: Path, file: RenderedFile) -> bool:
    """True when `path` holds the bytes of `file`."""
    with path.open("rb") as there:
        return file_digest(there, "sha256").hexdigest() == file.sha256.lower()


def _opened(file: RenderedFile) -> BinaryIO:
    try:
        return file.path.open("rb")
    except FileNotFoundError:
        raise PermanentError(f"the rendered file {file.name} is gone: run the report again") from None
    except OSError as error:
        raise TransientError(f"the rendered file {file.name} cannot be read: {error.strerror}") from None


def _piece(source: BinaryIO, file: RenderedFile) -> bytes:
    """The next piece; errors of reading must not look like errors of whoever writes them elsewhere."""
    try:
        return source.read(_CHUNK)
    except OSError as error:
        raise TransientError(f"the rendered file {file.name} cannot be read: {error.strerror}") from None
