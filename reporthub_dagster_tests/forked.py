"""Processes for tests to kill, forked from one that has loaded the code location once."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

CONTEXT = get_context("forkserver")
CONTEXT.set_forkserver_preload(["reporthub_dagster.definitions", "reporthub_dagster.instance"])


def start(target: Callable[..., object], *arguments: Any, log: Path) -> BaseProcess:
    """Call a function of a test module in a process of its own, in the environment of now.

    Args:
        target: The function.
        arguments: What it is called with; they are pickled.
        log: What it says on stderr is appended there.
    """
    process = CONTEXT.Process(target=_call, args=(dict(os.environ), log, target, arguments), daemon=True)
    process.start()
    return process


def kill(process: BaseProcess) -> None:
    """End a process as a power cut would."""
    process.kill()
    process.join()


def pause(process: BaseProcess) -> None:
    """Let a process stand still."""
    _signal(process, signal.SIGSTOP)


def resume(process: BaseProcess) -> None:
    """Let a process that stands still go on."""
    _signal(process, signal.SIGCONT)


def ended(process: BaseProcess, seconds: float = 60.0) -> int:
    """The exit code of a process, when it has ended.

    Raises:
        TimeoutError: It goes on.
    """
    process.join(seconds)
    if process.exitcode is None:
        raise TimeoutError(f"process {process.pid} has not ended after {seconds} s")
    return process.exitcode


def _signal(process: BaseProcess, number: signal.Signals) -> None:
    assert process.pid is not None
    os.kill(process.pid, number)


def _call(
    environment: dict[str, str], log: Path, target: Callable[..., object], arguments: tuple[Any, ...]
) -> None:
    os.environ.clear()
    os.environ.update(environment)
    said = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(said, 1)
    os.dup2(said, 2)
    target(*arguments)
