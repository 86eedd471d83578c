"""Scripts on a runner that an operator has put into a container of its own."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

from reporthub_dagster.reporting.errors import ConfigurationError, PermanentError
from reporthub_dagster.sandbox import wire
from reporthub_dagster.sandbox.protocol import OUTCOME_BYTES, PRINTED_BYTES, Job, Outcome
from reporthub_dagster.sandbox.running import Ended, Runner, Running

_CONNECT_SECONDS = 10.0
_SPARE_SECONDS = 120.0
"""Beyond the script's own time: rows on their way in and out, and a runner that starts."""
_ANSWER_BYTES = 8 * (OUTCOME_BYTES + PRINTED_BYTES)


class RemoteRunner(Runner):
    """Asks the runner at an address.

    Args:
        address: As `REPORTHUB_SCRIPT_RUNNER` has it.
    """

    def __init__(self, address: str) -> None:
        self._address = address

    def start(self, job: Job, inputs: Sequence[Path], result: BinaryIO) -> Running:
        """See the base class."""
        family, place = wire.address_of(self._address)
        connection = socket.socket(family, socket.SOCK_STREAM)
        connection.settimeout(_CONNECT_SECONDS)
        try:
            connection.connect(place)
            connection.settimeout(job.seconds + _SPARE_SECONDS)
            wire.send(connection, json.dumps({"version": wire.VERSION, **asdict(job)}).encode())
            for path in inputs:
                with path.open("rb") as file:
                    wire.send_file(connection, file, os.fstat(file.fileno()).st_size)
        except OSError as error:
            connection.close()
            raise ConfigurationError(
                f"the runner of scripts cannot be reached: {error.strerror or error}",
                column=wire.SETTING,
                value=self._address,
            ) from None
        return _RemoteRunning(connection, job, result)


class _RemoteRunning(Running):
    def __init__(self, connection: socket.socket, job: Job, result: BinaryIO) -> None:
        self._connection = connection
        self._job = job
        self._result = result

    def wait(self) -> Ended:
        try:
            with self._connection.makefile("rb") as answer:
                said = json.loads(wire.receive(answer, _ANSWER_BYTES))
                if "problem" in said:
                    raise PermanentError(f"the runner of scripts: {str(said['problem'])[:200]}")
                wire.receive_file(answer, self._result, self._job.memory_bytes)
            outcome = Outcome.from_bytes(json.dumps(said["outcome"]).encode()) if said["outcome"] else None
            printed = str(said["printed"])[:PRINTED_BYTES]
            return Ended(outcome, printed, bool(said["late"]), int(said["status"]))
        except (wire.BrokenFrameError, OSError, ValueError, KeyError, TypeError) as error:
            raise PermanentError(
                f"the runner of scripts has gone, or the script was stopped: {error}"
            ) from None
        finally:
            self._connection.close()

    def stop(self) -> None:
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
