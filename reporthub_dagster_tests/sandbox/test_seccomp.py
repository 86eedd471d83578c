"""The filter itself, read as the kernel reads it, for each machine; only that of this machine is also run."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from reporthub_dagster.sandbox import seccomp

ALLOWED, REFUSED, KILLED = 0x7FFF0000, 0x00050001, 0x80000000
CHANGING = {"openat": 2, "fcntl": 1, "ioctl": 1, "prlimit64": 2}
"""Call → the argument that decides."""
_HARMFUL = """
clone clone3 execve execveat socket connect bind sendmsg kill tkill tgkill ptrace process_vm_readv
unlinkat linkat renameat2 symlinkat mkdirat mknodat fchmodat fchownat setxattr mount umount2 pivot_root
chroot unshare setns prctl seccomp bpf keyctl add_key io_uring_setup io_uring_enter userfaultfd
perf_event_open memfd_create shmget msgget semget mq_open setrlimit setuid setresuid capset init_module
kexec_load reboot pidfd_open pidfd_getfd openat2 landlock_restrict_self
"""
HARMFUL = set(_HARMFUL.split())


def kernel_table(machine: str) -> dict[str, int]:
    """Name → number, of the headers of Linux 6.1."""
    text = (Path(__file__).parent / "kernel_tables" / f"{machine}.txt").read_text()
    return {name: int(number) for name, number in (entry.split("=") for entry in text.split())}


def answer(machine: str, number: int, arguments: tuple[int, ...] = (), audit: int | None = None) -> int:
    """What the kernel makes of a call: classic BPF over `struct seccomp_data`."""
    audit = seccomp.MACHINES[machine].audit if audit is None else audit
    data = struct.pack("=IIQ6Q", number, audit, 0, *arguments, *[0] * (6 - len(arguments)))
    steps = list(struct.iter_unpack("=HBBI", seccomp.program(machine)))
    place = held = 0
    while True:
        operation, if_true, if_false, value = steps[place]
        place += 1
        if operation == 0x20:
            (held,) = struct.unpack_from("=I", data, value)
        elif operation == 0x54:
            held &= value
        elif operation == 0x15:
            place += if_true if held == value else if_false
        else:
            assert operation == 0x06
            return int(value)


machines = pytest.mark.parametrize("machine", list(seccomp.MACHINES))


@machines
def test_the_numbers_are_the_kernels(machine: str) -> None:
    table, ours = kernel_table(machine), seccomp.MACHINES[machine].calls

    assert ours == {name: table[name] for name in ours}
    assert seccomp.MACHINES[machine].audit == {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}[machine]


@machines
def test_every_call_of_the_kernel_has_its_answer(machine: str) -> None:
    table, ours = kernel_table(machine), seccomp.MACHINES[machine].calls

    found = {name: answer(machine, number) for name, number in table.items()}

    assert {name for name, one in found.items() if one == ALLOWED} | {"ioctl"} == set(ours)
    assert {found[name] for name in table.keys() - ours} == {REFUSED}
    assert table.keys() - ours.keys() >= HARMFUL
    assert {answer(machine, number) for number in range(max(table.values()) + 1, 2000)} == {REFUSED}


@machines
def test_a_call_by_the_numbers_of_another_machine_ends_the_process(machine: str) -> None:
    others = {one.audit for one in seccomp.MACHINES.values()} - {seccomp.MACHINES[machine].audit}

    assert {answer(machine, 0, audit=audit) for audit in (*others, 0x40000003, 0x40000028)} == {KILLED}


@machines
@pytest.mark.parametrize(
    ("call", "value", "allowed"),
    [
        ("openat", os.O_RDONLY | os.O_CLOEXEC, True),
        ("openat", os.O_WRONLY, False),
        ("openat", os.O_RDWR, False),
        ("openat", os.O_RDONLY | os.O_CREAT, False),
        ("openat", os.O_RDONLY | os.O_TRUNC, False),
        ("openat", 0o20000000, False),
        ("fcntl", 1, True),
        ("fcntl", 4, False),
        ("fcntl", 8, False),
        ("ioctl", 0x5401, True),
        ("ioctl", 0x5412, False),
        ("prlimit64", 0, True),
        ("prlimit64", 1 << 40, False),
        ("prlimit64", 1, False),
    ],
)
def test_an_argument_decides(machine: str, call: str, value: int, allowed: bool) -> None:
    arguments = (0,) * CHANGING[call] + (value,)

    found = answer(machine, seccomp.MACHINES[machine].calls[call], arguments)

    assert found == (ALLOWED if allowed else REFUSED)
