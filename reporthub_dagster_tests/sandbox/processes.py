"""The fork servers among a process's children."""

from __future__ import annotations

import psutil


def fork_servers(process: psutil.Process) -> list[psutil.Process]:
    """Those that live: what has ended and was not waited for has no command line."""
    return [
        child
        for child in process.children()
        if child.status() != psutil.STATUS_ZOMBIE and "reporthub_dagster.sandbox.server" in child.cmdline()
    ]
