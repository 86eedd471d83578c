"""What a process puts on before it runs a script: limits, no privileges, another user, Landlock, seccomp.

Each is of the kernel and holds whatever the script does within its own process. Landlock and seccomp are both
needed: one says which files may be read, and that is time zones, the other which system calls there are.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import signal
import sys
from dataclasses import dataclass

from reporthub_dagster.sandbox import landlock, seccomp

NOBODY = 65_534
_PDEATHSIG, _DUMPABLE, _NO_NEW_PRIVS = 1, 4, 38
_MOST_FILES = 256
_ZONES = "/usr/share/zoneinfo"
"""All that a script may read: Arrow looks for time zones there. Modules are in memory already."""
_SPARE_CPU_SECONDS = 5
"""The clock on the wall ends a script first; this is for a server that cannot look at it."""


class NoBarsError(Exception):
    """The kernel, or what the process may do, does not suffice; says what is missing."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a script may use.

    Attributes:
        seconds: On the clock on the wall.
        memory_bytes: Beyond what the interpreter and its libraries take; its result is no larger either.
    """

    seconds: float
    memory_bytes: int


def missing() -> str:
    """Why this machine cannot hold a script; empty when it can."""
    if sys.platform != "linux":
        return f"the kernel's bars are Linux's, and this is {sys.platform}"
    if platform.machine() not in seccomp.MACHINES:
        return f"the system calls of {platform.machine()} are not known, only those of x86_64 and aarch64"
    if not landlock.version(_libc()):
        return (
            "this kernel has no Landlock (Linux 5.13 or later, with landlock in its list of security modules)"
        )
    return ""


def put_on(limits: Limits, *, parent: int, barred: bool = True) -> None:
    """Bind this process to the bars; there is no way back.

    Args:
        limits: What it may use.
        barred: Without it only what every kernel has: limits, no privileges, another user.
        parent: The process that it ends with.

    Raises:
        NoBarsError: One of them cannot be had; the process must end then.
    """
    reason = missing() if barred else ""
    if reason:
        raise NoBarsError(reason)
    libc = _libc()
    try:
        _control(libc, _NO_NEW_PRIVS, 1)
        _limit(limits)
        _become_nobody()
        _control(libc, _PDEATHSIG, signal.SIGKILL)
        _control(libc, _DUMPABLE, 0)
        if os.getppid() != parent:
            raise NoBarsError("its parent has ended")
        if not barred:
            return
        landlock.restrict(libc, [_ZONES] if os.path.isdir(_ZONES) else [])  # noqa: PTH112 - pathlib loads much
        seccomp.install(libc, platform.machine())
    except OSError as error:
        raise NoBarsError(f"{error.filename or error.strerror}: {os.strerror(error.errno or 0)}") from None


def _limit(limits: Limits) -> None:
    with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 - pathlib loads much
        held = int(file.read().split()[0]) * resource.getpagesize()
    for kind, most in (
        (resource.RLIMIT_AS, held + limits.memory_bytes),
        (resource.RLIMIT_FSIZE, limits.memory_bytes),
        (resource.RLIMIT_CPU, int(limits.seconds) + _SPARE_CPU_SECONDS),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, _MOST_FILES),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
    ):
        allowed = resource.getrlimit(kind)[1]
        least = most if allowed == resource.RLIM_INFINITY else min(most, allowed)
        resource.setrlimit(kind, (least, least))


def _become_nobody() -> None:
    """Leave root for an account that owns nothing; any other account stays what it is."""
    if os.geteuid() != 0:
        return
    try:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    except PermissionError:
        raise NoBarsError(
            "root may not become another user here (no CAP_SETUID): run the worker as an ordinary user"
        ) from None


def _control(libc: ctypes.CDLL, option: int, value: int) -> None:
    if libc.prctl(option, *(ctypes.c_ulong(one) for one in (value, 0, 0, 0))) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
