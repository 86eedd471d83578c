from __future__ import annotations

import hashlib
import os
import platform
import re
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from reporthub_dagster.sandbox.running import ScriptError
from reporthub_dagster_tests.sandbox import hostile
from reporthub_dagster_tests.sandbox.conftest import SECRET
from reporthub_dagster_tests.sandbox.processes import fork_servers
from reporthub_dagster_tests.sandbox.running import PARAMS, SMALL, Scripts

LEFTOVERS = (Path("/tmp/reporthub-sandbox-leftover"), Path("/dev/shm/reporthub-sandbox-leftover"))
READS, WRITES, PROCESSES, NETWORK, SIGNALS = (
    hostile.scripts_of(family) for family in ("reads", "writes", "processes", "network", "signals")
)
ENDS, FORGERIES = (hostile.scripts_and_words(family) for family in ("ends", "forgeries"))
IS_X86 = platform.machine() == "x86_64"
NUMBERS = hostile.kernel_calls(1 if IS_X86 else 2)


@dataclass
class World:
    """What hostile scripts are after, open to everybody as far as file modes go."""

    folder: Path
    secret: Path
    doors: list[socket.socket]
    params: dict[str, Any]
    spool: Path
    signals: list[int] = field(default_factory=list)

    def seen(self) -> tuple[Any, ...]:
        secret = self.secret.stat()
        return (
            sorted(path.name for path in self.folder.iterdir()),
            self.secret.read_bytes(),
            (secret.st_mode, secret.st_nlink, secret.st_mtime_ns, secret.st_uid),
            hashlib.sha256(self.spool.read_bytes()).hexdigest(),
            os.listxattr(self.secret),
        )

    def has_visitors(self) -> bool:
        for door in self.doors:
            try:
                door.recv(1) if door.type == socket.SOCK_DGRAM else door.accept()
            except BlockingIOError:
                continue
            return True
        return False


@pytest.fixture(scope="module")
def world(scripts: Scripts) -> Iterator[World]:
    with tempfile.TemporaryDirectory() as name, socket.create_server(("127.0.0.1", 0)) as tcp:
        folder = Path(name)
        folder.chmod(0o777)
        secret = folder / "secret.txt"
        secret.write_text(SECRET)
        secret.chmod(0o666)
        port = tcp.getsockname()[1]
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(("127.0.0.1", port))
        unix = socket.socket(socket.AF_UNIX)
        unix.bind(str(folder / "socket"))
        (folder / "socket").chmod(0o777)
        unix.listen()
        doors = [tcp, udp, unix]
        for door in doors:
            door.setblocking(False)
        params = {
            **PARAMS,
            "secret_file": str(secret),
            "folder": name,
            "port": port,
            "pid": os.getpid(),
            "half": SECRET.removesuffix("vault"),
            "rt_sigqueueinfo": 129 if IS_X86 else 138,
        }
        made = World(folder, secret, doors, params, scripts.spool)
        before = {
            number: signal.signal(number, lambda got, _: made.signals.append(got))
            for number in (signal.SIGTERM, signal.SIGIO, signal.SIGURG)
        }
        yield made
        for number, handler in before.items():
            signal.signal(number, handler)
        udp.close()
        unix.close()


def attack(scripts: Scripts, world: World, script: str, **limits: Any) -> str:
    """Run a script; returns what it printed and what its error said. The world must be as it was."""
    before = world.seen()
    try:
        said = scripts.run(f"result = data\n{script}", params=world.params, **limits).printed
    except ScriptError as error:
        said = f"{error.printed}\n{error}"
    assert "ESCAPED" not in said, said
    assert "vault" not in said.replace(repr("vault"), "")
    assert world.seen() == before
    assert not world.has_visitors()
    assert not world.signals
    assert not any(place.exists() for place in LEFTOVERS)
    assert children_of_the_server() == 0
    return said


def children_of_the_server() -> int:
    return sum(len(server.children()) for server in fork_servers(psutil.Process()))


@pytest.mark.parametrize("name", READS)
def test_a_script_reads_nothing(scripts: Scripts, world: World, name: str) -> None:
    attack(scripts, world, READS[name], seconds=10)


@pytest.mark.parametrize("name", WRITES)
def test_a_script_changes_nothing(scripts: Scripts, world: World, name: str) -> None:
    attack(scripts, world, WRITES[name])


@pytest.mark.parametrize("name", PROCESSES)
def test_a_script_starts_nothing(scripts: Scripts, world: World, name: str) -> None:
    attack(scripts, world, PROCESSES[name])


@pytest.mark.parametrize("name", NETWORK)
def test_a_script_reaches_nobody(scripts: Scripts, world: World, name: str) -> None:
    attack(scripts, world, NETWORK[name])


@pytest.mark.parametrize("name", SIGNALS)
def test_a_script_disturbs_nobody(scripts: Scripts, world: World, name: str) -> None:
    with subprocess.Popen(["sleep", "60"]) as bystander:
        attack(scripts, world, SIGNALS[name])
        assert bystander.poll() is None
        bystander.kill()


def test_the_kernel_answers_what_a_script_has_no_business_with(scripts: Scripts, world: World) -> None:
    said = attack(
        scripts,
        world,
        f"import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\nfor name, number in {NUMBERS!r}.items():\n"
        "    answer = libc.syscall(number, 0, 0, 0, 0, 0, 0)\n"
        "    print(name, answer, ctypes.get_errno(), end=';')",
    )
    answers = dict(re.findall(r"(\w+) (-?\d+ \d+);", said))
    assert answers == dict.fromkeys(NUMBERS, "-1 1"), "EPERM"


@pytest.mark.skipif(not IS_X86, reason="the ways around are those of x86_64")
@pytest.mark.parametrize("code", ["b8 14 00 00 00 cd 80 c3", "b8 27 00 00 40 0f 05 c3"], ids=["i386", "x32"])
def test_no_other_set_of_system_calls_leads_around(scripts: Scripts, world: World, code: str) -> None:
    said = attack(
        scripts,
        world,
        f"import ctypes, mmap, os\ncode = bytes.fromhex('{code}')\n"
        "page = mmap.mmap(-1, 4096, prot=7)\npage.write(code)\n"
        "call = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))\n"
        "print('ESCAPED' if call() == os.getpid() else 'no')",
    )
    assert said.startswith("no") or "ended before" in said


@pytest.mark.parametrize("name", ENDS)
def test_every_end_has_its_words(scripts: Scripts, world: World, name: str) -> None:
    script, words = ENDS[name]
    started = time.monotonic()
    before = world.seen()
    with pytest.raises(ScriptError) as caught:
        scripts.run(
            script.replace("NUL", "\0") if "result" in script else f"result = data\n{script}",
            params=world.params,
            seconds=0.5 if words == "longer than" else 20,
            memory=SMALL // 4,
        )
    assert re.search(words, str(caught.value))
    assert "ESCAPED" not in caught.value.printed
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert "File " not in str(caught.value), "no stack of ours"
    assert world.seen() == before
    assert time.monotonic() - started < 60
    assert children_of_the_server() == 0


@pytest.mark.parametrize("name", FORGERIES)
def test_what_a_process_says_is_not_believed(scripts: Scripts, world: World, name: str) -> None:
    code, words = FORGERIES[name]
    script = f"{hostile.text_of('forger')}\n{code}\nos._exit(0)"
    if not words:
        scripts.run(script, params=world.params)
        return
    with pytest.raises(ScriptError, match=words):
        scripts.run(script, params=world.params)


def test_prints_end_at_64_kib(scripts: Scripts) -> None:
    printed = scripts.run("for i in range(100_000):\n    print(i, '✈' * 30)\nresult = data").printed
    assert printed.startswith("0 ✈")
    assert printed.rstrip().endswith("kept up to 64 KiB]")
    assert len(printed.encode()) <= 64 << 10


def test_bytes_behind_print_do_not_grow_it(scripts: Scripts) -> None:
    flood = (
        "import os\nfor fd in range(3, 300):\n    try:\n        os.pwrite(fd, bytes(10**6), 65_000)\n"
        "    except OSError:\n        pass\n"
    )
    with pytest.raises(ScriptError) as caught:
        scripts.run(f"print('kept')\n{flood}1 / 0")
    assert len(caught.value.printed) <= 64 << 10


def test_no_script_sees_what_another_left(scripts: Scripts) -> None:
    scripts.run("import sys\npd.left = 2\nsys.left = 3\npd.DataFrame.sum = None\nresult = data")
    seen = scripts.run(
        "import sys\nprint(hasattr(pd, 'left'), hasattr(sys, 'left'))\nresult = data[['price']].sum()"
    )
    assert seen.printed == "False False\n"


def test_a_script_has_its_own_few_files_open_and_nothing_else(scripts: Scripts) -> None:
    printed = scripts.run(
        "import os\nfor fd in range(1024):\n    try:\n        print(fd, os.fstat(fd).st_mode >> 12)\n"
        "    except OSError:\n        pass\nresult = data"
    ).printed
    kinds = [int(line.split()[1]) for line in printed.splitlines()]
    regular, character = 8, 2
    assert kinds.count(character) == 3, "/dev/null three times"
    assert kinds.count(regular) == len(kinds) - 3 <= 5, "job, outcome, what it prints, result, a spool"
