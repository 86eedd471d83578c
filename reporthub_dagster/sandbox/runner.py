"""`reporthub script-runner`: runs scripts for ReportHub in a container that has nothing else.

Each connection is a thread that waits for a process: the same fork server and the same bars as everywhere.
Where the container's kernel has no such bars, an operator may say that the container itself is the wall.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import socketserver
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, BinaryIO

from reporthub_dagster.reporting.errors import ReportHubError
from reporthub_dagster.sandbox import wire
from reporthub_dagster.sandbox.local import LOCAL, LocalRunning
from reporthub_dagster.sandbox.protocol import Job
from reporthub_dagster.sandbox.running import Ended

_JOB_BYTES = 4 << 20
_INPUT_BYTES = 64 << 30
_MOST_INPUTS = 100


def serve(address: str, *, is_wall: bool, say: Callable[[str], object]) -> None:
    """Run scripts for whoever connects, until the process is ended.

    Args:
        address: `unix:/path` or `tcp:host:port`.
        is_wall: Scripts run without the kernel's bars; the container is what holds them.
        say: Gets what is worth knowing.

    Raises:
        ConfigurationError: The address is none.
        OSError: It cannot be listened on.
    """
    family, place = wire.address_of(address)
    if isinstance(place, str):
        Path(place).unlink(missing_ok=True)
    with _Server(family, place, barred=not is_wall) as server:
        say(f"scripts are run at {address}{', without the kernel bars' if is_wall else ''}")
        server.serve_forever()


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, family: socket.AddressFamily, place: Any, *, barred: bool) -> None:
        self.address_family = family
        self.barred = barred
        super().__init__(place, _Handler)


class _Handler(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        with suppress(OSError, wire.BrokenFrameError):  # whoever asked has gone
            try:
                self._run()
            except (ReportHubError, ValueError, KeyError, TypeError) as error:
                wire.send(self.connection, json.dumps({"problem": str(error)}).encode())

    def _run(self) -> None:
        said = json.loads(wire.receive(self.rfile, _JOB_BYTES))
        if said.pop("version") != wire.VERSION:
            raise ValueError(f"this runner speaks version {wire.VERSION}")
        job = replace(Job.from_bytes(json.dumps(said).encode()), barred=self.server.barred)
        if len(job.names) > _MOST_INPUTS:
            raise ValueError("too many inputs")
        with ExitStack() as opened:
            folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
            inputs = [folder / str(number) for number, _ in enumerate(job.names)]
            for path in inputs:
                with path.open("wb") as file:
                    wire.receive_file(self.rfile, file, _INPUT_BYTES)
            result = opened.enter_context(tempfile.TemporaryFile(dir=folder))
            running = LOCAL.start(job, inputs, result)
            self._answer(_ended(running, self.connection), result)

    def _answer(self, ended: Ended, result: BinaryIO) -> None:
        is_done = ended.outcome is not None and ended.outcome.kind == "done"
        document = {**asdict(ended), "outcome": asdict(ended.outcome) if ended.outcome else None}
        wire.send(self.connection, json.dumps(document).encode())
        result.seek(0)
        wire.send_file(self.connection, result, os.fstat(result.fileno()).st_size if is_done else 0)


def _ended(running: LocalRunning, connection: socket.socket) -> Ended:
    """Wait for a script, and end it when whoever asked hangs up."""
    with selectors.DefaultSelector() as selector:
        selector.register(connection, selectors.EVENT_READ)
        selector.register(running, selectors.EVENT_READ)
        ready = {key.fileobj for key, _ in selector.select()}
        if running not in ready:
            running.stop()
    return running.wait()
