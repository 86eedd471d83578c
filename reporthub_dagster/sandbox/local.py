"""Scripts behind the bars of this machine's kernel: one fork server a process, started when first needed."""

from __future__ import annotations

import array
import atexit
import fcntl
import importlib.util
import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Lock
from typing import BinaryIO

from reporthub_dagster.reporting.errors import ConfigurationError, PermanentError
from reporthub_dagster.sandbox.protocol import OUTCOME_BYTES, PRINTED_BYTES, Job, Outcome, read_all
from reporthub_dagster.sandbox.running import Ended, Runner, Running

_ENVIRONMENT = {
    "PATH": "/nonexistent",
    "HOME": "/nonexistent",
    "LANG": "C.UTF-8",
    "TZ": "UTC",
    # One thread each: a script can make none, and a fork keeps none.
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_ARENA_MAX": "1",
}
_START_SECONDS = 120.0
_PACKAGES = ("pandas", "numpy")
_SEAL_SIZE = (
    fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL if hasattr(fcntl, "F_SEAL_GROW") else 0
)


class LocalRunner(Runner):
    """Asks the fork server of this process; several threads may."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._server: tuple[int, subprocess.Popen[bytes], socket.socket] | None = None

    def start(self, job: Job, inputs: Sequence[Path], result: BinaryIO) -> LocalRunning:
        """See the base class."""
        require_packages()
        with ExitStack() as opened:
            mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            opened.enter_context(theirs)
            told = _memory_file(opened, "job", job.to_bytes())
            outcome = _memory_file(opened, "outcome", bytes(OUTCOME_BYTES))
            printed = _memory_file(opened, "printed", bytes(PRINTED_BYTES))
            rows = [opened.enter_context(path.open("rb")).fileno() for path in inputs]
            files = [theirs.fileno(), told, outcome, printed, result.fileno(), *rows]
            self._send(json.dumps({"seconds": job.seconds}).encode(), files)
            return LocalRunning(mine, os.dup(outcome), os.dup(printed))

    def close(self) -> None:
        """End the fork server, and with it what it runs."""
        with self._lock:
            self._forget()

    def _forget(self) -> None:
        server, self._server = self._server, None
        if server is not None and server[0] == os.getpid():
            server[2].close()
            server[1].wait()

    def _send(self, said: bytes, files: list[int]) -> None:
        with self._lock:
            for last in (False, True):
                control = self._control()
                try:
                    control.sendmsg([said], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))])
                except OSError:  # somebody has ended the server
                    self._forget()
                    if last:
                        raise PermanentError("the process that runs scripts does not stay") from None
                else:
                    return

    def _control(self) -> socket.socket:
        """The socket of the fork server, started now if there is none or it is a parent's."""
        if self._server is None or self._server[0] != os.getpid():
            mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                process = subprocess.Popen(  # noqa: S603 - our own program
                    [sys.executable, "-I", "-m", f"{__package__}.server", str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    env=_ENVIRONMENT,
                    cwd="/",
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            _require_ready(mine)
            self._server = (os.getpid(), process, mine)
        return self._server[2]


class LocalRunning(Running):
    """A script behind the bars, or on its way there."""

    def __init__(self, answer: socket.socket, outcome: int, printed: int) -> None:
        self._answer = answer
        self._outcome = outcome
        self._printed = printed

    def wait(self) -> Ended:
        """See the base class."""
        try:
            answer = self._answer.recv(4096)
            if not answer:
                raise PermanentError("the process that runs scripts has gone, or the script was stopped")
            said = json.loads(answer)
            printed = read_all(self._printed, PRINTED_BYTES).rstrip(b"\0").decode(errors="ignore")
            outcome = Outcome.from_bytes(read_all(self._outcome, OUTCOME_BYTES))
            return Ended(outcome, printed, said["late"], said["status"])
        finally:
            self._answer.close()
            os.close(self._outcome)
            os.close(self._printed)

    def fileno(self) -> int:
        """Readable when the script has ended."""
        return self._answer.fileno()

    def stop(self) -> None:
        """See the base class."""
        with suppress(OSError):
            self._answer.shutdown(socket.SHUT_RDWR)


def require_packages() -> None:
    """Make sure that what scripts use is installed.

    Raises:
        ConfigurationError: It is not; says how to install it.
    """
    for package in _PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise ConfigurationError(
                f"scripts need the package {package!r}",
                valid="install it with: pip install 'reporthub-dagster[scripts]'",
            )


def _require_ready(control: socket.socket) -> None:
    """Wait until a server that was just started can run scripts.

    Raises:
        PermanentError: It cannot.
    """
    control.settimeout(_START_SECONDS)
    try:
        said = json.loads(control.recv(4096) or b"{}")
    except TimeoutError:
        said = {"problem": f"no sign of life after {_START_SECONDS:g} s"}
    control.settimeout(None)
    if "ready" not in said:
        control.close()
        raise PermanentError(
            f"the process that runs scripts does not start: {said.get('problem', 'it ended')}"
        )


def _memory_file(opened: ExitStack, name: str, content: bytes) -> int:
    """A file in memory that can neither grow nor shrink."""
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    opened.callback(os.close, descriptor)
    os.write(descriptor, content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEAL_SIZE)
    return descriptor


LOCAL = LocalRunner()
"""The one of this process."""
atexit.register(LOCAL.close)
