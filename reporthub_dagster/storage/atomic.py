"""Whole-or-nothing files: written under a temporary name, fsynced, renamed into place."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

TEMPORARY_SUFFIX = ".part"


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside `target`; on success it is fsynced and takes `target`'s name.

    A reader sees the old file or the whole new one, never a part; after an error or an interrupt the
    temporary file is gone. The caller writes and closes the file.

    Raises:
        OSError: The folder cannot be written, or the disk is full.
    """
    temporary = target.with_name(f".{secrets.token_hex(8)}{TEMPORARY_SUFFIX}")
    try:
        yield temporary
        _fsync(temporary)
        temporary.replace(target)
        with suppress(OSError):  # some network mounts cannot sync a folder; the file itself is safe
            _fsync(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_file(target: Path) -> Iterator[BinaryIO]:
    """Like `atomic_path`, with the temporary file open for writing bytes."""
    with atomic_path(target) as temporary, temporary.open("xb") as file:
        yield file


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
