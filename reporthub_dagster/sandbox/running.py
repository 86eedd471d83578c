"""Where scripts run: one at a time asked for, each by a process that cannot hurt this one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from reporthub_dagster.reporting.errors import ConfigurationError
from reporthub_dagster.sandbox.protocol import Job, Outcome

COLUMN = "parameters.script"


@dataclass(frozen=True, slots=True)
class Ended:
    """How a script's process ended.

    Attributes:
        outcome: What it said of it, None where it said nothing that makes sense.
        printed: What it printed, up to 64 KiB.
        late: It was ended at its time limit.
        status: The exit code of its process; minus the signal that ended it.
    """

    outcome: Outcome | None
    printed: str
    late: bool
    status: int


class ScriptError(ConfigurationError):
    """A script did not give a result; says why and where.

    Attributes:
        printed: What it printed until then.
    """

    printed: str = ""


class Running(ABC):
    """A script on its way."""

    @abstractmethod
    def wait(self) -> Ended:
        """Until it has ended.

        Raises:
            PermanentError: Whoever runs it has gone; nobody knows what became of it.
        """

    @abstractmethod
    def stop(self) -> None:
        """End the script at once, from any thread; harmless when it has ended."""


class Runner(ABC):
    """Runs scripts."""

    @abstractmethod
    def start(self, job: Job, inputs: Sequence[Path], result: BinaryIO) -> Running:
        """Begin to run a script.

        Args:
            job: The script.
            inputs: A spool for each of the job's names.
            result: An empty file without a name, open for reading and writing; gets the results.

        Raises:
            ConfigurationError: Scripts cannot be run as things are set up; says what to do.
            PermanentError: The process that runs them does not start.
        """


def require_done(ended: Ended, job: Job) -> Outcome:
    """What a script's process says, when it has done its work.

    Raises:
        ScriptError: It has not; says why in the words of a person who can change it.
    """
    problem = _problem(ended, job)
    if problem is not None:
        problem.printed = ended.printed
        raise problem
    assert ended.outcome is not None  # noqa: S101 - `_problem` has seen to it
    return ended.outcome


def _problem(ended: Ended, job: Job) -> ScriptError | None:
    outcome = ended.outcome
    memory = f"{job.memory_bytes >> 20:,} MiB"
    if ended.late:
        return ScriptError(
            f"the script took longer than {job.seconds:g} s and was ended",
            valid="make it faster, give it fewer rows, or raise SCRIPT_TIMEOUT",
        )
    if outcome is None:
        ended_by = f"signal {-ended.status}" if ended.status < 0 else f"exit {ended.status}"
        return ScriptError(
            f"the script's process ended before its result was there ({ended_by})",
            valid=f"it may use {memory} of memory (REPORTHUB_SCRIPT_MEMORY_MB), and not end its process",
        )
    place = f"line {outcome.line}: " if outcome.line else ""
    if outcome.kind == "memory":
        valid = "select fewer rows or columns, or raise REPORTHUB_SCRIPT_MEMORY_MB"
        return ScriptError(f"{place}the script needs more than {memory} of memory", valid=valid)
    if outcome.kind == "output":
        valid = "give fewer rows or columns, or raise REPORTHUB_SCRIPT_MEMORY_MB"
        return ScriptError(f"{place}the result is larger than {memory}", valid=valid)
    if outcome.kind == "refused":
        return ScriptError(
            f"scripts cannot be run safely here: {outcome.message}",
            valid="point REPORTHUB_SCRIPT_RUNNER at a runner in a container of its own, see docs/scripts.md",
        )
    return ScriptError(f"{place}{outcome.message}") if outcome.kind == "error" else None
