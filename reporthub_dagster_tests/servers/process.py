"""Starting and ending the private servers of tests: free loopback ports, pids of our own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import psutil
import pytest


def binary(*names: str) -> str:
    """The first of `names` that is installed; in CI a missing server fails, elsewhere it skips."""
    for name in names:
        found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
        if found:
            return found
    return _missing(f"none of {', '.join(names)} is installed")


def package(name: str) -> None:
    """Make sure of a Python package of the group `engines`; as `binary` when it is missing."""
    if find_spec(name) is None:
        _missing(f"the package {name} is not installed: uv sync --group engines")


def script_python(script: Path) -> Path:
    """The interpreter of a script that names its own packages; as `binary` where it is not installed."""
    own = Path(__file__).parents[2] / ".tools" / "bin" / "uv"
    uv = os.environ.get("UV") or shutil.which("uv") or str(own)
    asked = subprocess.run(
        [uv, "python", "find", "--script", script], capture_output=True, text=True, check=False
    )
    found = Path(asked.stdout.strip())
    if asked.returncode == 0 and found.is_relative_to(_environments(uv)):
        return found
    return _missing(f"the environment of {script.name} is not installed: uv sync --script {script}")


def _environments(uv: str) -> Path:
    """Where uv keeps the environments of scripts."""
    asked = subprocess.run([uv, "cache", "dir"], capture_output=True, text=True, check=True)
    return Path(asked.stdout.strip())


def _missing(reason: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def free_port() -> int:
    """A loopback port that nothing listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(ready: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    """Poll `ready` until it is true; an exception counts as not yet."""
    end = time.monotonic() + seconds
    last: Exception | None = None
    while time.monotonic() < end:
        try:
            if ready():
                return
        except Exception as error:  # noqa: BLE001 - whatever a server that is not up yet makes of us
            last = error
        time.sleep(0.05)
    raise TimeoutError(f"{what} was not ready after {seconds} s: {last}")


def started(
    command: Sequence[str | Path], log: Path, answers: Callable[[], bool], what: str, **how: Any
) -> subprocess.Popen[bytes]:
    """A server's process that answers.

    Args:
        command: Of the server.
        log: What it says is added there.
        answers: Whether it does; an exception counts as not yet.
        what: Its name.
        how: Further arguments of Popen.

    Raises:
        RuntimeError: It ended, or does not answer in a minute; says what its log ends with.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, **how)
    try:
        wait_until(lambda: process.poll() is not None or answers(), what)
        reason = f"it ended with {process.poll()}"
    except TimeoutError:
        stop(process)
        reason = "it does not answer"
    if process.poll() is not None:
        raise RuntimeError(f"{what} did not start: {reason}: {log_tail(log)}")
    return process


def stop_with_children(process: subprocess.Popen[bytes]) -> None:
    """End a process that we started, and whatever it has started that goes on without it."""
    children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    stop(process)
    for child in children:
        with suppress(psutil.NoSuchProcess):
            child.kill()


def stop(process: subprocess.Popen[bytes], seconds: float = 10.0) -> None:
    """End a process that we started, kindly first."""
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class PrivateServer(ABC):
    """A server with a folder and a port of its own."""

    @abstractmethod
    def create(self) -> None:
        """Make its files and start it."""

    @abstractmethod
    def stop(self) -> None:
        """End it."""


ServerT = TypeVar("ServerT", bound=PrivateServer)


@contextmanager
def private(name: str, make: Callable[[Path, int], ServerT]) -> Iterator[ServerT]:
    """A server in a temporary folder, on a free port; nothing of it is left afterwards.

    Args:
        name: Part of the folder's name.
        make: The server of a folder and a port.
    """
    home = Path(tempfile.mkdtemp(prefix=f"reporthub-{name}-"))
    server = make(home, free_port())
    try:
        server.create()
        yield server
    finally:
        server.stop()
        shutil.rmtree(home, ignore_errors=True)


def log_tail(path: Path, lines: int = 20) -> str:
    """The end of a server's log, for the message of a failed start."""
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else ""
