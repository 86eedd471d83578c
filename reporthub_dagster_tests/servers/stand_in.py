"""What stands in for a server that cannot be had: a process that a test may kill and another starts again."""

from __future__ import annotations

import subprocess
from abc import abstractmethod
from http.client import HTTPConnection
from typing import Any, Self

from reporthub_dagster_tests.servers.database import DatabaseServer
from reporthub_dagster_tests.servers.process import wait_until


class StandIn(DatabaseServer):
    """A stand-in, whose databases live as long as its process; as a context, until the block ends."""

    _process: subprocess.Popen[bytes] | None = None

    @property
    def runs(self) -> bool:
        """False after `kill`."""
        return self._process is not None

    def start(self) -> None:
        """Start it unless it runs; returns when it answers."""
        if self._process is None:
            self._process = self._launch()
            wait_until(self._answers, type(self).__name__)

    def kill(self) -> None:
        """End it as a power cut would, with all it holds."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @abstractmethod
    def _launch(self) -> subprocess.Popen[bytes]:
        """Its process, which may not answer yet."""

    def _answers(self) -> bool:
        self.statements()
        return True


def body_of(
    connection: HTTPConnection,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: dict[str, Any] | None = None,
) -> bytes:
    """What one request is answered with 200, on a connection of its own."""
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        answer = response.read()
    finally:
        connection.close()
    assert response.status == 200, answer
    return answer
