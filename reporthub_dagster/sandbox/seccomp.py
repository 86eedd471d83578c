"""The system calls that a script may make, as a filter that the kernel keeps to: a list of what is allowed.

No threads and no processes, no network, no signals, nothing that changes a file system. Files are opened for
reading only; which of them, Landlock says. What is not listed fails with EPERM; a call by the numbers of
another architecture ends the process.
"""

from __future__ import annotations

import ctypes
import os
import struct
from dataclasses import dataclass
from typing import Final

_PR_SET_SECCOMP, _MODE_FILTER = 22, 2
_ALLOW, _KILL = 0x7FFF0000, 0x80000000
_DENY: Final = 0x00050000 | 1
"""SECCOMP_RET_ERRNO with EPERM."""
_LOAD, _EQUAL, _AND, _RETURN = 0x20, 0x15, 0x54, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
"""Offsets in `struct seccomp_data`."""


@dataclass(frozen=True, slots=True)
class _Machine:
    """The numbers of an architecture, from the kernel's own tables."""

    audit: int
    calls: dict[str, int]

    @classmethod
    def read(cls, audit: int, table: str) -> _Machine:
        """From a table of `name=number`."""
        pairs = (entry.split("=") for entry in table.split())
        return cls(audit, {name: int(number) for name, number in pairs})


_X86_64 = """
    read=0 write=1 close=3 stat=4 fstat=5 lstat=6 poll=7 lseek=8 mmap=9 mprotect=10 munmap=11 brk=12
    rt_sigaction=13 rt_sigprocmask=14 rt_sigreturn=15 ioctl=16 pread64=17 pwrite64=18 readv=19 writev=20
    access=21 sched_yield=24 mremap=25 madvise=28 dup=32 nanosleep=35 getpid=39 exit=60 uname=63 fcntl=72
    ftruncate=77 getcwd=79 gettimeofday=96 getrlimit=97 getrusage=98 sysinfo=99 times=100 getuid=102
    getgid=104 geteuid=107 getegid=108 getppid=110 sigaltstack=131 gettid=186 time=201 futex=202
    sched_getaffinity=204 getdents64=217 restart_syscall=219 fadvise64=221 clock_gettime=228
    clock_getres=229 clock_nanosleep=230 exit_group=231 openat=257 newfstatat=262 faccessat=269 ppoll=271
    prlimit64=302 getcpu=309 getrandom=318 membarrier=324 statx=332
"""
_AARCH64 = """
    getcwd=17 dup=23 fcntl=25 ioctl=29 ftruncate=46 faccessat=48 openat=56 close=57 getdents64=61 lseek=62
    read=63 write=64 readv=65 writev=66 pread64=67 pwrite64=68 ppoll=73 newfstatat=79 fstat=80 exit=93
    exit_group=94 futex=98 nanosleep=101 clock_gettime=113 clock_getres=114 clock_nanosleep=115
    sched_getaffinity=123 sched_yield=124 restart_syscall=128 sigaltstack=132 rt_sigaction=134
    rt_sigprocmask=135 rt_sigreturn=139 times=153 uname=160 getrlimit=163 getrusage=165 getcpu=168
    gettimeofday=169 getpid=172 getppid=173 getuid=174 geteuid=175 getgid=176 getegid=177 gettid=178
    sysinfo=179 brk=214 munmap=215 mremap=216 mmap=222 fadvise64=223 mprotect=226 madvise=233 prlimit64=261
    getrandom=278 membarrier=283 statx=291
"""
MACHINES = {"x86_64": _Machine.read(0xC000003E, _X86_64), "aarch64": _Machine.read(0xC00000B7, _AARCH64)}

_O_TMPFILE_ITSELF = 0o20000000
_WRITING = os.O_ACCMODE | os.O_CREAT | os.O_TRUNC | os.O_APPEND | _O_TMPFILE_ITSELF
_DUPFD, _GETFD, _SETFD, _GETFL, _DUPFD_CLOEXEC = 0, 1, 2, 3, 1030
_TCGETS, _FIOCLEX = 0x5401, 0x5451
_ALL_BITS = 0xFFFFFFFF

_CONDITIONS: dict[str, tuple[int, int, tuple[int, ...]]] = {
    "openat": (2, _WRITING, (0,)),
    "fcntl": (1, _ALL_BITS, (_DUPFD, _GETFD, _SETFD, _GETFL, _DUPFD_CLOEXEC)),
    "ioctl": (1, _ALL_BITS, (_TCGETS, _FIOCLEX)),
}
"""Call → which of its arguments, which bits of it, and what they may be. Each of them is an int."""


class _Program(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def program(machine: str) -> bytes:
    """The filter in the kernel's classic BPF.

    Raises:
        KeyError: The architecture's numbers are not known.
    """
    known = MACHINES[machine]
    code = [
        _step(_LOAD, _ARCHITECTURE),
        _step(_EQUAL, known.audit, 1, 0),
        _step(_RETURN, _KILL),
        _step(_LOAD, _NUMBER),
    ]
    for name, number in known.calls.items():
        answer = _answer(name)
        code += [_step(_EQUAL, number, 0, len(answer)), *answer]
    return b"".join([*code, _step(_RETURN, _DENY)])


def install(libc: ctypes.CDLL, machine: str) -> None:
    """Bind this process to the filter; there is no way back.

    Raises:
        OSError: The kernel has no seccomp filters.
    """
    code = program(machine)
    buffer = ctypes.create_string_buffer(code, len(code))
    filter_ = _Program(len(code) // 8, ctypes.addressof(buffer))
    if libc.prctl(_PR_SET_SECCOMP, ctypes.c_ulong(_MODE_FILTER), ctypes.byref(filter_), 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "seccomp")


def _answer(name: str) -> list[bytes]:
    """What becomes of a call; always ends with a return."""
    if name == "prlimit64":  # limits are read, never set: the pointer to new ones is null, both its halves
        return [
            _step(_LOAD, _ARGUMENTS + 8 * 2),
            _step(_EQUAL, 0, 0, 3),
            _step(_LOAD, _ARGUMENTS + 8 * 2 + 4),
            _step(_EQUAL, 0, 0, 1),
            _step(_RETURN, _ALLOW),
            _step(_RETURN, _DENY),
        ]
    if name not in _CONDITIONS:
        return [_step(_RETURN, _ALLOW)]
    argument, bits, values = _CONDITIONS[name]
    checks = [_step(_EQUAL, value, len(values) - place, 0) for place, value in enumerate(values)]
    return [
        _step(_LOAD, _ARGUMENTS + 8 * argument),
        _step(_AND, bits),
        *checks,
        _step(_RETURN, _DENY),
        _step(_RETURN, _ALLOW),
    ]


def _step(operation: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """An instruction, `struct sock_filter`."""
    return struct.pack("=HBBI", operation, if_true, if_false, value)
