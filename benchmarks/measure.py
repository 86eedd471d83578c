"""Running one contender in a process of its own, and what it used."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Usage:
    """What one contender used.

    Attributes:
        cpu: User and system seconds of its process.
        rss: Peak resident memory in MB (10^6 bytes).
        wall: Seconds on a shared machine; for orientation only.
    """

    cpu: float
    rss: float
    wall: float


def measured(module: str, contender: str, *arguments: str) -> Usage:
    """Run `python -m module contender arguments…`, which ends in `report(work)`."""
    command = [sys.executable, "-m", module, contender, *arguments]
    finished = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return Usage(**json.loads(finished.stdout.splitlines()[-1]))


def report(work: Callable[[], None], *, children: bool = False) -> None:
    """Do the work and print what this process, or its children alone, used, as one line of JSON."""
    import time  # noqa: PLC0415

    started = time.monotonic()
    work()
    usage = resource.getrusage(resource.RUSAGE_CHILDREN if children else resource.RUSAGE_SELF)
    numbers = {
        "cpu": usage.ru_utime + usage.ru_stime,
        "rss": usage.ru_maxrss * 1024 / 1e6,
        "wall": time.monotonic() - started,
    }
    print(json.dumps(numbers))
