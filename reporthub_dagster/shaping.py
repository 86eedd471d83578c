"""From rows to other rows: a report's script over the spools of its queries, once."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from tempfile import TemporaryFile
from typing import Any, BinaryIO

from reporthub_dagster.reporting.errors import ConfigurationError
from reporthub_dagster.reporting.records import QueryResult, ReportPlan
from reporthub_dagster.reporting.redaction import redact
from reporthub_dagster.sandbox import bars, local
from reporthub_dagster.sandbox.protocol import SCRIPT_NAME, Job
from reporthub_dagster.sandbox.remote import RemoteRunner
from reporthub_dagster.sandbox.results import spool_result
from reporthub_dagster.sandbox.running import Ended, Runner, ScriptError, require_done
from reporthub_dagster.sandbox.wire import address_of
from reporthub_dagster.settings import Settings
from reporthub_dagster.storage.execution_folder import ExecutionFolder, SavedShape
from reporthub_dagster.storage.spool import columns_of

COLUMN = "parameters.script"

Guard = Callable[[Callable[[], None]], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class Shaped:
    """What a script made of the rows.

    Attributes:
        results: Of every query: what the script gave for it, or the query's own rows.
        milliseconds: How long the script took, with its rows in and out.
        reused: True when an earlier attempt had run it.
    """

    results: tuple[QueryResult, ...]
    milliseconds: int
    reused: bool


@dataclass(frozen=True, slots=True)
class Shaping:
    """A script and what it needs.

    Attributes:
        folder: The execution's.
        params: Names and values that the script sees.
        guard: Gets what ends the script from another thread, and holds while it runs.
        say: Gets what the script prints.
    """

    plan: ReportPlan
    folder: ExecutionFolder
    params: Mapping[str, Any]
    guard: Guard
    say: Callable[[str], object]

    def shape(self, results: Sequence[QueryResult]) -> Shaped:
        """Run the script over the results of the queries, unless an earlier attempt has.

        Raises:
            ConfigurationError: The script is wrong, or scripts cannot be run here.
            PermanentError: The process that runs scripts has gone.
            OSError: The output folder cannot be written.
        """
        made_from = self._digest(results)
        earlier = self.folder.load_shape()
        if earlier is not None and earlier.made_from == made_from:
            return Shaped(_together(results, earlier.results), earlier.milliseconds, reused=True)
        self.folder.forget_shape()
        started = time.monotonic()
        try:
            given = self._run(results)
        except ConfigurationError as error:
            raise ConfigurationError(
                redact(error.problem),
                table="report_configs",
                row=self.plan.config_id,
                column=error.column or COLUMN,
                value=error.value,
                valid=error.valid,
            ) from None
        milliseconds = round((time.monotonic() - started) * 1000)
        self.folder.save_shape(SavedShape(given, milliseconds, made_from))
        return Shaped(_together(results, given), milliseconds, reused=False)

    def _run(self, results: Sequence[QueryResult]) -> dict[int, QueryResult]:
        settings = Settings.load()
        job = Job(
            script=self.plan.script,
            names=tuple(result.name for result in results),
            params=self.params,
            seconds=settings.script_timeout_seconds,
            memory_bytes=settings.script_memory_mb << 20,
        )
        with TemporaryFile(dir=self.folder.path) as target:
            running = runner_of(settings).start(job, [result.spool for result in results], target)
            try:
                with self.guard(running.stop):
                    ended = running.wait()
            finally:
                running.stop()
            return self._given(ended, job, results, target)

    def _given(
        self, ended: Ended, job: Job, results: Sequence[QueryResult], source: BinaryIO
    ) -> dict[int, QueryResult]:
        """What the script gave, by the position of its query, each in a spool."""
        if ended.printed:
            self.say(redact(ended.printed))
        outcome = require_done(ended, job)
        source.seek(0)
        given: dict[int, QueryResult] = {}
        for name in outcome.results:
            if name not in job.names:
                raise ScriptError("the script's process names a result that no query has")
            position = job.names.index(name)
            spool = self.folder.shaped(position)
            schema, rows, more = spool_result(source, spool, max_rows=self.plan.max_rows)
            before = results[position]
            given[position] = replace(
                before,
                spool=spool,
                columns=columns_of(schema),
                row_count=rows,
                truncated=before.truncated or more,
            )
        return given

    def _digest(self, results: Sequence[QueryResult]) -> str:
        """Of all that the script's result depends on."""
        spools = []
        for result in results:
            with result.spool.open("rb") as file:
                spools.append(
                    [result.name, hashlib.file_digest(file, "sha256").hexdigest(), result.truncated]
                )
        made_from = [self.plan.script, dict(self.params), self.plan.max_rows, spools]
        return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()


def runner_of(settings: Settings) -> Runner:
    """Where this installation runs scripts."""
    return RemoteRunner(settings.script_runner) if settings.script_runner else local.LOCAL


def check_script(plan: ReportPlan) -> str:
    """Make sure that a report's script can be read and run here, without running it; returns a remark.

    Raises:
        ConfigurationError: It is not Python, or what it needs is not installed.
    """
    if not plan.script:
        return ""
    try:
        compile(plan.script, SCRIPT_NAME, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = f"line {error.lineno}: " if isinstance(error, SyntaxError) and error.lineno else ""
        said = error.msg if isinstance(error, SyntaxError) else str(error)
        raise ConfigurationError(
            f"{line}{type(error).__name__}: {said}",
            table="report_configs",
            row=plan.config_id,
            column=COLUMN,
        ) from None
    address = Settings.load().script_runner
    if address:
        address_of(address)
        return ""
    local.require_packages()
    missing = bars.missing()
    return f"{COLUMN}: scripts cannot be run safely here: {missing}" if missing else ""


def _together(results: Sequence[QueryResult], given: Mapping[int, QueryResult]) -> tuple[QueryResult, ...]:
    return tuple(given.get(position, result) for position, result in enumerate(results))
