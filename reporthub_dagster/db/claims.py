"""Claims: the right of one run to work on one execution, and the fence around whatever it writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Insert, exists, insert, select, update
from sqlalchemy.exc import IntegrityError

from reporthub_dagster.db.clock import utc_ago
from reporthub_dagster.db.ledger import Lease, LedgerEntry
from reporthub_dagster.db.models import ReportExecution
from reporthub_dagster.reporting.errors import PermanentError

NOBODY = ""
"""`run_id` of a lease that was taken from a run that died."""
WAITING = "waiting"
"""`run_id` of a lease that no run needs to hold before a retry is due."""
NOT_WAITING = {"next_attempt_at": None, "waits_for": None, "waits_since": None}
"""Of an entry of the ledger whose turn has come."""
_ENDED = ("completed", "failed", "cancelled")


class LostClaimError(PermanentError):
    """Another run has taken this execution over; what this one does no longer counts."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The right of one run to work on one execution, until somebody takes it over."""

    execution_id: str
    run_id: str
    token: int


class TooLateError(Exception):
    """Somebody else changed the row between looking and writing."""


def take(
    connection: Connection,
    claim: Claim,
    after: Claim | None,
    from_status: str,
    at: datetime,
    *,
    anew: bool | None,
) -> None:
    """Move an execution to `running` under a new claim, as `Executions.claim` says; `at` is wall time.

    Raises:
        TooLateError: Its lease or its status is not what the caller saw.
    """
    _take_lease(connection, claim, after, from_status, at)
    _start(connection, claim.execution_id, from_status, at)
    if from_status in _ENDED if anew is None else anew:
        _try_anew(connection, claim.execution_id)


def _take_lease(
    connection: Connection, claim: Claim, after: Claim | None, from_status: str, at: datetime
) -> None:
    values: dict[str, Any] = {"run_id": claim.run_id, "token": claim.token, "claimed_at": at}
    values["heartbeat_at"] = utc_ago()
    if after is not None:
        if from_status == "running" and after.run_id not in {NOBODY, WAITING}:
            values["attempts"] = Lease.attempts + 1
        elif from_status in _ENDED:
            values["attempts"] = 0
        seen = (Lease.execution_id == claim.execution_id, Lease.token == after.token)
        if connection.execute(update(Lease).where(*seen).values(values)).rowcount != 1:
            raise TooLateError
        return
    insert_once(connection, insert(Lease).values(execution_id=claim.execution_id, **values))


def _start(connection: Connection, execution_id: str, from_status: str, at: datetime) -> None:
    seen = (ReportExecution.id == execution_id, ReportExecution.status == from_status)
    values: dict[str, Any] = {"status": "running", "completed_at": None, "error_message": None}
    if from_status == "queued":
        values["started_at"] = at
    if connection.execute(update(ReportExecution).where(*seen).values(values)).rowcount != 1:
        raise TooLateError


def _try_anew(connection: Connection, execution_id: str) -> None:
    """What the ledger holds of a failure is no reason any more; what was sent, or may have been, stays."""
    missing = (LedgerEntry.execution_id == execution_id, LedgerEntry.state.in_(("refused", "retry")))
    values = {"state": "pending", "attempts": 0, **NOT_WAITING}
    connection.execute(update(LedgerEntry).where(*missing).values(values))


def insert_once(connection: Connection, statement: Insert) -> None:
    """Insert a row that nobody else has inserted.

    Raises:
        TooLateError: Somebody has.
    """
    try:
        connection.execute(statement)
    except IntegrityError:
        raise TooLateError from None


def write_fenced(
    connection: Connection, claim: Claim, values: Mapping[str, Any], context: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Update an execution under the fence; returns what its context held before `context` was merged in.

    Raises:
        LostClaimError: The claim is no longer the latest.
    """
    row = ReportExecution.id == claim.execution_id
    changed = dict(values)
    before: Mapping[str, Any] = {}
    if context:
        before = context_of(connection, claim.execution_id)
        changed["execution_context"] = {**before, **context}
    fence = exists().where(*fence_of(claim))
    if connection.execute(update(ReportExecution).where(row, fence).values(changed)).rowcount != 1:
        raise lost(claim)
    return before


def fence_of(claim: Claim) -> tuple[ColumnElement[bool], ...]:
    """True of a lease while the claim is the latest."""
    return (
        Lease.execution_id == claim.execution_id,
        Lease.run_id == claim.run_id,
        Lease.token == claim.token,
    )


def require_claim(connection: Connection, claim: Claim) -> None:
    """Make sure, within a transaction, that a claim is still the latest.

    Raises:
        LostClaimError: It is not.
    """
    if connection.scalar(select(Lease.token).where(*fence_of(claim))) is None:
        raise lost(claim)


def retry_is_due(execution_id: Any) -> ColumnElement[bool]:
    """Whether some recipient of an execution is to be tried again, now or later."""
    scheduled = (LedgerEntry.execution_id == execution_id, LedgerEntry.next_attempt_at.is_not(None))
    return exists().where(*scheduled)


def context_of(connection: Connection, execution_id: str) -> Mapping[str, Any]:
    """What `execution_context` holds now; empty where it is not a JSON object."""
    query = select(ReportExecution.execution_context).where(ReportExecution.id == execution_id)
    present = connection.scalar(query)
    return present if isinstance(present, Mapping) else {}


def lost(claim: Claim) -> LostClaimError:
    """The error of a run that no longer holds its execution."""
    return LostClaimError(f"execution {claim.execution_id} has been taken over by another run")
