"""A private Redis: one server for the whole test session; each broker gets a database of its own."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from redis import Redis

from reporthub_dagster_tests.servers.process import binary, free_port, stop, wait_until

PASSWORD = "canary-redis-7731"
_numbers = count(1)


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """URL of an empty Redis that asks for a password."""
    server = binary("redis-server")
    home = Path(tempfile.mkdtemp(prefix="reporthub-redis-"))
    port = free_port()
    settings = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--requirepass", PASSWORD]
    process = subprocess.Popen([server, *settings, "--dir", str(home)], stdout=subprocess.DEVNULL)

    def answers() -> bool:
        with Redis(port=port, password=PASSWORD) as client:
            return bool(client.ping())

    try:
        wait_until(answers, "redis")
        yield f"redis://:{PASSWORD}@127.0.0.1:{port}/0"
    finally:
        stop(process)
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="module")
def redis_database_url(redis_url: str) -> str:
    """URL of a database of that Redis that no other file uses."""
    return f"{redis_url.removesuffix('0')}{next(_numbers)}"
