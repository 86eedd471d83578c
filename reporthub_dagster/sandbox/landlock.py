"""Landlock: the kernel lets a process read below a few folders and do nothing else with any file."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable

_CREATE, _ADD_RULE, _RESTRICT = 444, 445, 446
"""System calls, the same on every architecture."""
_VERSION_FLAG, _PATH_BENEATH = 1, 1
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_RIGHTS = ((1, (1 << 13) - 1), (2, 1 << 13), (3, 1 << 14), (5, 1 << 15))
"""Version of the interface → the rights over files that it knows more than the one before."""
_TCP, _TCP_SINCE = 0b11, 4
_SCOPES, _SCOPES_SINCE = 0b11, 6
"""Abstract Unix sockets and signals end at the sandbox's wall."""


def version(libc: ctypes.CDLL) -> int:
    """The interface's version, 1 and up; 0 where the kernel has none."""
    return max(0, int(libc.syscall(_CREATE, None, 0, _VERSION_FLAG)))


def restrict(libc: ctypes.CDLL, readable: Iterable[str]) -> None:
    """Bind this process to reading below `readable`; there is no way back.

    Raises:
        OSError: The kernel has no Landlock, or a path cannot be opened.
    """
    known = version(libc)
    files = sum(rights for since, rights in _RIGHTS if known >= since)
    tcp = _TCP if known >= _TCP_SINCE else 0
    scopes = _SCOPES if known >= _SCOPES_SINCE else 0
    size = 24 if scopes else 16 if tcp else 8
    ruleset = _call(libc, _CREATE, struct.pack("=QQQ", files, tcp, scopes), size, 0)
    for path in readable:
        _allow(libc, ruleset, path)
    _call(libc, _RESTRICT, ruleset, 0)
    os.close(ruleset)


def _allow(libc: ctypes.CDLL, ruleset: int, path: str) -> None:
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    rights = _READ_FILE | _READ_DIR if os.path.isdir(path) else _READ_FILE  # noqa: PTH112 - pathlib loads much
    _call(libc, _ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("=Qi", rights, place), 0)
    os.close(place)


def _call(libc: ctypes.CDLL, *arguments: int | bytes) -> int:
    answer = int(libc.syscall(*arguments))
    if answer < 0:
        raise OSError(ctypes.get_errno(), "landlock")
    return answer
