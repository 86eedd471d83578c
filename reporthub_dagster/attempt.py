"""A Dagster run as an attempt at an execution: its claim, and how what goes wrong becomes an outcome."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NoReturn, TypeVar

import dagster as dg

from reporthub_dagster import asset_events, stopping
from reporthub_dagster.db.claims import Claim, LostClaimError
from reporthub_dagster.db.executions import Outcome
from reporthub_dagster.db.leases import GIVEN_UP_RUNS, Holder
from reporthub_dagster.heartbeat import Heartbeat, beating
from reporthub_dagster.mailing import destination_settings
from reporthub_dagster.notices import tell_outcome
from reporthub_dagster.reporting.errors import ConfigurationError, ReportHubError, TransientError
from reporthub_dagster.reporting.records import Execution
from reporthub_dagster.reporting.redaction import redact, revealed, secrets_of_url
from reporthub_dagster.resources import HubDatabase
from reporthub_dagster.settings import Settings

RETRIES = 2
"""Further tries within a run, for what may work a moment later: a database that restarts."""
RETRY_PAUSE_SECONDS = 5.0

DATABASE_ERRORS = {"OperationalError", "InterfaceError", "DagsterMySQLException"}
"""Of SQLAlchemy, the drivers and dagster-mysql: the database did not answer."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Work:
    """An op at work on an execution.

    Attributes:
        claim: The right to.
        heart: Says that the run lives; knows when the claim was lost.
        metadata: Shown with the failure, if there is one.
    """

    claim: Claim
    heart: Heartbeat
    metadata: dict[str, Any] = field(default_factory=dict)


def claim_execution(
    context: dg.OpExecutionContext,
    hub: HubDatabase,
    execution: Execution,
    remember: Mapping[str, Any] | None = None,
    *,
    at: datetime | None = None,
    by_person: bool = False,
) -> Claim | None:
    """The right to work on an execution; None, with the reason logged, when this run has nothing to do.

    Args:
        context: Of the op.
        hub: The shared database.
        execution: As it was found.
        remember: Keys to merge into its context with the claim.
        at: Now, where the caller has just asked the database.
        by_person: Somebody asks for a redelivery: it may have ended in any way, and they say for whom.
    """
    holder = hub.leases.holder(execution.id)
    if holder is not None and holder.claim.run_id == context.run_id and execution.status == "running":
        return holder.claim
    reason = _reason_to_leave(context, execution, holder, by_person=by_person)
    if reason is None:
        claim = hub.executions.claim(
            execution.id,
            context.run_id,
            after=holder.claim if holder else None,
            from_status=execution.status,
            at=at or hub.hub.now(),
            context={
                **(remember or {}),
                "dagster_run_id": context.run_id,
                GIVEN_UP_RUNS: _given_up(execution, holder),
            },
            anew=_is_anew(context, by_person=by_person),
        )
        if claim is not None:
            return claim
        reason = "another run was faster"
    context.log.warning(f"Nothing to do: execution {execution.id}: {reason}.")
    return None


def held_claim(context: dg.OpExecutionContext, hub: HubDatabase, execution_id: str) -> Claim:
    """The claim of this run; a retry from failure takes its execution over first.

    Raises:
        LostClaimError: Another run works on the execution, or it has ended.
    """
    kept = hub.kept_claim(execution_id, context.run_id)
    if kept is not None:
        return kept  # the first heartbeat asks whether it still holds
    holder = hub.leases.holder(execution_id)
    if holder is not None and holder.claim.run_id == context.run_id:
        return holder.claim
    execution = hub.executions.find(execution_id)
    claim = claim_execution(context, hub, execution) if execution else None
    if claim is None:
        raise LostClaimError(f"execution {execution_id} is not this run's to work on")
    return claim


@contextmanager
def at_work(
    context: dg.OpExecutionContext,
    hub: HubDatabase,
    execution_id: str,
    claim: Claim | None = None,
    *,
    retries: int = RETRIES,
    is_branch: bool = False,
) -> Iterator[Work]:
    """Work on an execution with a beating heart; what goes wrong becomes its outcome.

    Dagster is told in one redacted line. A transient error asks it for another try first.

    Args:
        context: Of the op.
        hub: The shared database.
        execution_id: The execution.
        claim: The claim, where the caller has just taken it.
        retries: Further tries of the op.
        is_branch: It is one delivery of several: its failure leaves the retries of others as they are.

    Raises:
        dagster.Failure, dagster.RetryRequested: In place of what was raised.
    """
    with telling(context):
        held = claim or patiently(context, lambda: held_claim(context, hub, execution_id))
    hub.keep_claim(held)
    metadata: dict[str, Any] = {}
    try:
        with beating(hub.leases, held) as heart:
            yield Work(held, heart, metadata)
    except (dg.DagsterExecutionInterruptedError, KeyboardInterrupt, stopping.StoppingError):
        if not stopping.is_stopping():
            _finish(context, hub, held, "cancelled", "cancelled by a person")
        raise
    except LostClaimError as error:
        _give_back(context, error)
    except Exception as error:  # noqa: BLE001 - the boundary: what nobody foresaw must still close the row
        lost = _of_dagsters_database(error)
        if lost is not None and context.retry_number < RETRIES:
            _give_back(context, lost)
        if isinstance(error, TransientError) and context.retry_number < retries:
            _give_back(context, error)
        told = _told(context, error)
        kind = type(told).__name__
        _finish(context, hub, held, "failed", str(told), kind=kind, is_branch=is_branch)
        raise dg.Failure(str(told), metadata=metadata, allow_retries=False) from None


@contextmanager
def telling(context: dg.OpExecutionContext) -> Iterator[None]:
    """Tell Dagster what goes wrong while this run has no claim yet, and so no outcome to write.

    Raises:
        dagster.Failure, dagster.RetryRequested: In place of what was raised.
    """
    try:
        yield
    except Exception as error:
        told = error if isinstance(error, ReportHubError) else _of_dagsters_database(error)
        if told is None:
            raise
        _give_back(context, told)


def _of_dagsters_database(error: Exception) -> TransientError | None:
    """What is left when Dagster's own database fails within an op: errors of all others are translated."""
    if type(error).__name__ not in DATABASE_ERRORS:
        return None
    words = redact(str(error).partition("\n")[0], environment_secrets())
    return TransientError(f"Dagster's database does not answer: {words}")


def _give_back(context: dg.OpExecutionContext, error: ReportHubError) -> NoReturn:
    """End the op without an outcome: it is tried again, or somebody else writes it.

    Raises:
        dagster.Failure, dagster.RetryRequested: Always one of them.
    """
    if isinstance(error, TransientError) and context.retry_number < RETRIES:
        context.log.warning(f"Trying again in {RETRY_PAUSE_SECONDS} s: {error}")
        raise dg.RetryRequested(RETRIES, RETRY_PAUSE_SECONDS) from None
    raise dg.Failure(str(error), allow_retries=False) from None


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
    lost = _of_dagsters_database(error)
    if lost is not None:
        return lost
    if isinstance(error, OSError) and error.errno is not None:
        place = f" {error.filename}" if error.filename else ""
        return ConfigurationError(
            f"the output folder cannot be written:{place}: {error.strerror}", column="REPORT_OUTPUT_PATH"
        )
    secrets = environment_secrets()
    stack = redact("".join(traceback.format_exception(error)), secrets)
    context.log.error(stack)
    words = redact(f"internal error, please report it: {type(error).__name__}: {error}", secrets)
    return RuntimeError(words)


def _reason_to_leave(
    context: dg.OpExecutionContext, execution: Execution, holder: Holder | None, *, by_person: bool
) -> str | None:
    """Why this run may not work on an execution; None when it may."""
    if execution.status == "completed" and not by_person:
        return "it is completed"
    if context.run_id in execution.context.get(GIVEN_UP_RUNS, ()):
        return "this run has been given up"
    if holder is not None and _is_at_work(context, holder):
        return f"run {holder.claim.run_id} works on it"
    is_retry = by_person or context.run.parent_run_id is not None
    if execution.status in {"failed", "cancelled"} and not is_retry:
        return f"it has {execution.status}; re-execute its run to try again"
    return None


def _is_anew(context: dg.OpExecutionContext, *, by_person: bool) -> bool | None:
    """Whether those who refused are tried again: of a redelivery a person says who, of a re-execution all."""
    if by_person:
        return False
    return True if context.run.parent_run_id is not None else None


def _given_up(execution: Execution, holder: Holder | None) -> list[str]:
    """The runs that must not come back, now that this one takes over."""
    earlier = list(execution.context.get(GIVEN_UP_RUNS, ()))
    return earlier if holder is None or holder.is_nobody else [*earlier, holder.claim.run_id]


def _is_at_work(context: dg.OpExecutionContext, holder: Holder) -> bool:
    """Whether another run lives: it has a heartbeat, and Dagster does not know that it has ended."""
    if holder.is_nobody or holder.silent or holder.claim.run_id == context.run_id:
        return False
    run = context.instance.get_run_by_id(holder.claim.run_id)
    return run is None or not run.is_finished


def _finish(
    context: dg.OpExecutionContext,
    hub: HubDatabase,
    claim: Claim,
    outcome: Outcome,
    error: str,
    *,
    kind: str | None = None,
    is_branch: bool = False,
) -> None:
    """Write the outcome; where the shared database is what failed, the log is all that is left."""

    def write() -> None:
        hub.executions.finish(claim, outcome, error=error, kind=kind, is_branch=is_branch)

    try:
        patiently(context, write)
    except ReportHubError as unwritten:
        line = f"The outcome of execution {claim.execution_id} was not written: {unwritten}"
        context.log.error(line)  # noqa: TRY400 - the line says all; a stack would add nothing
    else:
        tell(hub, claim.execution_id, context.log.info)
        asset_events.report(context.instance, hub, claim.execution_id, context.log.warning)


def tell(hub: HubDatabase, execution_id: str, say: Callable[[str], object]) -> None:
    """Tell people what became of an execution; never fails."""
    environment = destination_settings(Settings.load())
    tell_outcome(hub.hub, execution_id, environment, datetime.now(UTC), say)


def environment_secrets() -> frozenset[str]:
    """Texts of the environment that no log and no row may show."""
    settings = Settings.load()
    password = revealed(settings.smtp_password) or ""
    broker = revealed(settings.broker_url) or ""
    of_urls = secrets_of_url(settings.hub_url) | secrets_of_url(broker)
    return of_urls | ({password} if password else set())
