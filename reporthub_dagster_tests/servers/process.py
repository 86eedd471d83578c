"""Starting and ending the private servers of tests: free loopback ports, pids of our own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest


def binary(*names: str) -> str:
    """The first of `names` that is installed; in CI a missing server fails, elsewhere it skips."""
    for name in names:
        found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
        if found:
            return found
    reason = f"none of {', '.join(names)} is installed"
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def free_port() -> int:
    """A loopback port that nothing listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(ready: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
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


def stop(process: subprocess.Popen[bytes], seconds: float = 10.0) -> None:
    """End a process that we started, kindly first."""
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def log_tail(path: Path, lines: int = 20) -> str:
    """The end of a server's log, for the message of a failed start."""
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else ""
