"""A Dagster run as an attempt at an execution: its claim, and how what goes wrong becomes an outcome."""

from __future__ import annotations

import re
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

import dagster as dg

from reporthub_dagster.db.executions import Claim, Executions, LostClaimError, Outcome
from reporthub_dagster.reporting.errors import ConfigurationError, ReportHubError, TransientError
from reporthub_dagster.reporting.records import Execution
from reporthub_dagster.reporting.redaction import redact, secrets_of_url
from reporthub_dagster.settings import Settings

RETRIES = 2
"""Further tries within an op, for what may work a moment later."""
RETRY_PAUSE_SECONDS = 5.0

T = TypeVar("T")

_ID = re.compile(r"[0-9A-Za-z-]{1,36}")


@dataclass(frozen=True, slots=True)
class Work:
    """An op at work: its claim, and the metadata that Dagster shows if it fails."""

    claim: Claim
    metadata: dict[str, Any] = field(default_factory=dict)


def execution_id_of(context: dg.OpExecutionContext, asked: str) -> str:
    """The id that a launch names, else the root run's: a re-execution is another attempt at the same.

    Raises:
        ConfigurationError: The id is not one; it also names a folder.
    """
    if asked and not _ID.fullmatch(asked):
        raise ConfigurationError(
            "not an execution id", column="execution_id", value=asked, valid="valid: a UUID"
        )
    return asked or context.run.root_run_id or context.run_id


def claim_execution(
    context: dg.OpExecutionContext, executions: Executions, execution: Execution
) -> Claim | None:
    """The right to work on an execution; None, with the reason logged, when this run has nothing to do."""
    holder = executions.holder(execution.id)
    if holder is not None and holder.run_id == context.run_id and execution.status == "running":
        return holder
    reason = _reason_to_leave(context, execution, holder)
    if reason is None:
        claim = executions.claim(
            execution.id,
            context.run_id,
            after=holder,
            from_status=execution.status,
            at=datetime.now(UTC),
        )
        if claim is not None:
            return claim
        reason = "another run was faster"
    context.log.warning(f"Nothing to do: execution {execution.id}: {reason}.")
    return None


def held_claim(context: dg.OpExecutionContext, executions: Executions, execution_id: str) -> Claim:
    """The claim of this run; a retry from failure takes its execution over first.

    Raises:
        LostClaimError: Another run works on the execution, or it has ended.
    """
    holder = executions.holder(execution_id)
    if holder is not None and holder.run_id == context.run_id:
        return holder
    execution = executions.find(execution_id)
    claim = claim_execution(context, executions, execution) if execution else None
    if claim is None:
        raise LostClaimError(f"execution {execution_id} is not this run's to work on")
    return claim


@contextmanager
def working_on(context: dg.OpExecutionContext, executions: Executions, execution_id: str) -> Iterator[Work]:
    """Hold the claim on an execution for an op; see `outcome_of_failure` for what goes wrong.

    Raises:
        dagster.Failure: In place of what was raised.
    """
    try:
        claim = patiently(context, lambda: held_claim(context, executions, execution_id))
    except ReportHubError as error:
        raise dg.Failure(str(error), allow_retries=False) from None
    with outcome_of_failure(context, executions, claim) as work:
        yield work


@contextmanager
def outcome_of_failure(
    context: dg.OpExecutionContext, executions: Executions, claim: Claim
) -> Iterator[Work]:
    """Write what goes wrong in an op to its execution, and tell Dagster in one redacted line.

    Raises:
        dagster.Failure: In place of what was raised.
    """
    work = Work(claim)
    try:
        yield work
    except (dg.DagsterExecutionInterruptedError, KeyboardInterrupt):
        _finish(context, executions, claim, "cancelled", "cancelled by a person")
        raise
    except LostClaimError as error:
        raise dg.Failure(str(error), allow_retries=False) from None
    except Exception as error:  # noqa: BLE001 - the boundary: what nobody foresaw must still close the row
        told = _told(context, error)
        _finish(context, executions, claim, "failed", str(told), kind=type(told).__name__)
        raise dg.Failure(str(told), metadata=work.metadata, allow_retries=False) from None


def patiently(context: dg.OpExecutionContext, action: Callable[[], T]) -> T:
    """The result of an action that may work a moment later; it is tried three times.

    The pause is within the op, where a person's cancel ends it like everything else.

    Raises:
        TransientError: It did not work in the end.
    """
    for _ in range(RETRIES):
        try:
            return action()
        except TransientError as error:
            context.log.warning(f"Trying again in {RETRY_PAUSE_SECONDS:g} s: {error}")
            time.sleep(RETRY_PAUSE_SECONDS)
    return action()


def _told(context: dg.OpExecutionContext, error: Exception) -> Exception:
    """The error that people are told: ours as it is, the file system's with its cure, others redacted."""
    if isinstance(error, ReportHubError):
        return error
    if isinstance(error, OSError) and error.errno is not None:
        place = f" {error.filename}" if error.filename else ""
        return ConfigurationError(
            f"the output folder cannot be written:{place}: {error.strerror}", column="REPORT_OUTPUT_PATH"
        )
    secrets = _environment_secrets()
    stack = redact("".join(traceback.format_exception(error)), secrets)
    context.log.error(stack)
    words = redact(f"internal error, please report it: {type(error).__name__}: {error}", secrets)
    return RuntimeError(words)


def _reason_to_leave(
    context: dg.OpExecutionContext, execution: Execution, holder: Claim | None
) -> str | None:
    """Why this run may not work on an execution; None when it may."""
    if execution.status == "completed":
        return "it is completed"
    if holder is not None and holder.run_id != context.run_id:
        run = context.instance.get_run_by_id(holder.run_id)
        if run is None:
            return f"run {holder.run_id}, which this Dagster instance does not know, works on it"
        if not run.is_finished:
            return f"run {holder.run_id} works on it"
    is_retry = context.run.parent_run_id is not None
    if execution.status in {"failed", "cancelled"} and not is_retry:
        return f"it has {execution.status}; re-execute its run to try again"
    return None


def _finish(
    context: dg.OpExecutionContext,
    executions: Executions,
    claim: Claim,
    outcome: Outcome,
    error: str,
    *,
    kind: str | None = None,
) -> None:
    """Write the outcome; where the shared database is what failed, the log is all that is left."""

    def write() -> None:
        executions.finish(claim, outcome, at=datetime.now(UTC), error=error, kind=kind)

    try:
        patiently(context, write)
    except ReportHubError as unwritten:
        line = f"The outcome of execution {claim.execution_id} was not written: {unwritten}"
        context.log.error(line)  # noqa: TRY400 - the line says all; a stack would add nothing


def _environment_secrets() -> frozenset[str]:
    settings = Settings.load()
    password = settings.smtp_password.get_secret_value() if settings.smtp_password else ""
    return secrets_of_url(settings.hub_url) | ({password} if password else set())
