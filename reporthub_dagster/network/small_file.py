"""Keys and certificates that a row names by their path."""

from __future__ import annotations

import errno
import os
import stat

_MOST_BYTES = 1_000_000


def small_file(path: str) -> bytes:
    """What a small file holds.

    Raises:
        OSError: It cannot be read, or is no such file: a device or a pipe may have no end.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:  # noqa: PTH123 - pathlib knows no descriptors
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode) or about.st_size > _MOST_BYTES:
            raise OSError(errno.EINVAL, "it is no small file")
        return file.read(_MOST_BYTES)
