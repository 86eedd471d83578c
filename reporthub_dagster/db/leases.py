"""Leases: who holds an execution, whether it still lives, and taking it away from the dead."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    Text,
    and_,
    cast,
    insert,
    inspect,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from reporthub_dagster.db import rows
from reporthub_dagster.db.claims import NOBODY, WAITING, Claim, context_of, fence_of, lost, retry_is_due
from reporthub_dagster.db.clock import utc_ago
from reporthub_dagster.db.executions import MESSAGE_LIMIT
from reporthub_dagster.db.ledger import Lease
from reporthub_dagster.db.models import ReportExecution
from reporthub_dagster.db.session import Hub

BEAT_SECONDS = 10.0
"""How often a run says that it lives."""
LEASE_SECONDS = 45.0
"""A run that has said nothing for so long is dead: four beats, and some patience with the database."""
LAUNCH = "launch"
"""Key of `execution_context`: what the launch asked for; also the mark of an execution that we work on."""
GIVEN_UP_RUNS = "given_up_runs"
"""Key of `execution_context`: runs that it was taken from; should one come back to life, it gets nothing."""
_AT_ONCE = 500

Settlement = Literal["queued", "running", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class Holder:
    """The latest claim on an execution.

    Attributes:
        silent: Its run has not said for `LEASE_SECONDS` that it lives.
        attempts: How often a run that held the lease has died.
    """

    claim: Claim
    silent: bool
    attempts: int

    @property
    def is_nobody(self) -> bool:
        """True when no run holds the lease: it was taken from one that died, or waits."""
        return self.claim.run_id in {NOBODY, WAITING}

    @property
    def is_waiting(self) -> bool:
        """True when no run is needed before a retry is due."""
        return self.claim.run_id == WAITING


@dataclass(frozen=True, slots=True)
class OpenExecution:
    """An execution without an outcome.

    Attributes:
        holder: None when no run has claimed it yet.
        age: How long ago it was started or queued.
        given_up_runs: Runs that it was taken from.
        has_retry: A recipient is to be tried again at a time that is written down.
    """

    id: str
    status: str
    holder: Holder | None
    age: timedelta
    given_up_runs: tuple[str, ...]
    has_retry: bool = False


@dataclass(frozen=True, slots=True)
class Hold:
    """An execution, and who holds it: None before the first claim."""

    status: str
    holder: Holder | None

    def is_settled_for(self, run_id: str) -> bool:
        """Whether nothing is left to do for a run that has been at work for longer than a lease lasts.

        While its execution waits it may still take it, or the reaper has yet to judge it.
        """
        is_own = self.holder is not None and self.holder.claim.run_id == run_id
        if self.status == "queued" or (self.status == "running" and is_own):
            return False
        if is_own:
            return self.holder is not None and self.holder.silent
        return self.status != "running" or (self.holder is not None and self.holder.claim.run_id != NOBODY)


class Leases:
    """The leases of the shared database, judged by its own clock."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def holder(self, execution_id: str) -> Holder | None:
        """Who holds an execution, whether it lives or not."""
        query = select(Lease.run_id, Lease.token, Lease.attempts, is_silent().label("silent"))
        with self._hub.begin() as connection:
            row = connection.execute(query.where(Lease.execution_id == execution_id)).mappings().one_or_none()
        return _holder(execution_id, row) if row else None

    def beat(self, claim: Claim) -> None:
        """Say that the run of a claim lives.

        Raises:
            LostClaimError: Another run has taken the execution over, or the lease was taken away.
            TransientError: The database does not answer.
        """
        beat = update(Lease).where(*fence_of(claim)).values(heartbeat_at=utc_ago())
        with self._hub.begin() as connection:
            beaten = connection.execute(beat).rowcount
        if beaten != 1:
            raise lost(claim)

    def holds(self, ids: Collection[str]) -> dict[str, Hold]:
        """Executions, open or not, and who holds them."""
        table = ReportExecution
        lease = (Lease.run_id, Lease.token, Lease.attempts, is_silent().label("silent"))
        query = select(table.id, table.status, *lease).outerjoin(Lease, Lease.execution_id == table.id)
        with self._hub.begin() as connection:
            found = connection.execute(query.where(table.id.in_(ids))).mappings().all()
        return {
            row["id"]: Hold(row["status"], None if row["token"] is None else _holder(row["id"], row))
            for row in found
        }

    def open_executions(self, ids: Collection[str] | None = None) -> list[OpenExecution]:
        """Executions without an outcome that a run of ours has worked on, oldest first, 500 at the most.

        Those that wait for a retry are left out, unless they are asked for: there may be many of them.

        Args:
            ids: Only these, and then whoever made them.
        """
        table = ReportExecution
        columns = (table.id, table.status, table.started_at, table.execution_context)
        lease = (Lease.run_id, Lease.token, Lease.attempts, is_silent().label("silent"))
        # What is queued and was never claimed is the scheduler's: thousands of them hide no dead run.
        marked = cast(table.execution_context, Text).contains(f'"{LAUNCH}": {{')
        mine = or_(Lease.run_id != WAITING, and_(Lease.run_id.is_(None), table.status == "running", marked))
        query = (
            select(*columns, *lease, utc_ago().label("now"), retry_is_due(table.id).label("has_retry"))
            .outerjoin(Lease, Lease.execution_id == table.id)
            .where(table.status.in_(("running", "queued")), mine if ids is None else table.id.in_(ids))
            .order_by(table.started_at, table.id)
            .limit(_AT_ONCE)
        )
        with self._hub.begin() as connection:
            found = connection.execute(query).mappings().all()
        return [self._open(row) for row in found]

    def settle(
        self,
        seen: OpenExecution,
        status: Settlement,
        *,
        at: datetime,
        error: str | None = None,
        died: bool = False,
    ) -> bool:
        """Close or requeue what no living run holds; whoever held it can write nothing from now on.

        Args:
            seen: What the judgement is about; nothing happens if it has changed since.
            status: The new one. `queued` becomes `running`, held by nobody, where the column lacks the word;
                `running` is to wait for a retry.
            at: Now.
            error: Why, for people.
            died: The process of the run that held it died: this is counted.

        Returns:
            Whether it was done.
        """
        try:
            with self._hub.begin() as connection:
                holder = WAITING if status == "running" else NOBODY
                self._take_away(connection, seen, holder, at=at, died=died)
                self._set_status(connection, seen, status, at, error)
        except (_ChangedError, IntegrityError):
            return False
        return True

    def _take_away(
        self, connection: Connection, seen: OpenExecution, holder: str, *, at: datetime, died: bool
    ) -> None:
        values: dict[str, Any] = {"run_id": holder, "heartbeat_at": utc_ago()}
        if seen.holder is None:
            moment = rows.to_wall(at, self._hub.zone)
            first = {"execution_id": seen.id, "token": 1, "attempts": int(died), "claimed_at": moment}
            connection.execute(insert(Lease).values({**values, **first}))
            return
        fence = [Lease.execution_id == seen.id, Lease.token == seen.holder.claim.token]
        if seen.holder.silent:
            fence.append(is_silent())
        values |= {"token": Lease.token + 1, "attempts": Lease.attempts + int(died)}
        if connection.execute(update(Lease).where(*fence).values(values)).rowcount != 1:
            raise _ChangedError

    def _set_status(
        self, connection: Connection, seen: OpenExecution, status: Settlement, at: datetime, error: str | None
    ) -> None:
        table = ReportExecution
        values: dict[str, Any] = {"error_message": error[:MESSAGE_LIMIT] if error else None}
        if status == "queued":
            values["status"] = waiting_status(connection)
        elif status == "running":
            values = {"status": "running"}  # what has failed for others stays told
        else:
            values |= {"status": status, "completed_at": rows.to_wall(at, self._hub.zone)}
        if seen.holder is not None and not seen.holder.is_nobody:
            given_up = [*seen.given_up_runs, seen.holder.claim.run_id]
            values["execution_context"] = {**context_of(connection, seen.id), GIVEN_UP_RUNS: given_up}
        same = (table.id == seen.id, table.status == seen.status)
        if connection.execute(update(table).where(*same).values(values)).rowcount != 1:
            raise _ChangedError

    def _open(self, row: RowMapping) -> OpenExecution:
        context = row["execution_context"]
        started = rows.to_utc(row["started_at"], self._hub.zone)
        now = row["now"].replace(tzinfo=UTC)
        given_up = context.get(GIVEN_UP_RUNS) if isinstance(context, Mapping) else None
        return OpenExecution(
            id=row["id"],
            status=row["status"],
            holder=None if row["token"] is None else _holder(row["id"], row),
            age=now - started if started else timedelta(),
            given_up_runs=tuple(given_up or ()),
            has_retry=bool(row["has_retry"]),
        )


class _ChangedError(Exception):
    """Somebody else changed the execution between looking and writing."""


def is_silent() -> ColumnElement[bool]:
    """True of a lease whose run is dead by its silence; what never had a heartbeat is."""
    return and_(
        Lease.run_id.not_in((NOBODY, WAITING)),
        or_(Lease.heartbeat_at.is_(None), Lease.heartbeat_at < utc_ago(LEASE_SECONDS)),
    )


def _holder(execution_id: str, row: RowMapping) -> Holder:
    claim = Claim(execution_id, row["run_id"], row["token"])
    return Holder(claim, bool(row["silent"]), row["attempts"])


def waiting_status(connection: Connection) -> str:
    """What the status column calls an execution that waits: `queued`, or `running` where it must."""
    columns = inspect(connection).get_columns(ReportExecution.__tablename__)
    (status,) = (column["type"] for column in columns if column["name"] == "status")
    words = getattr(status, "enums", None)
    return "queued" if words is None or "queued" in words else "running"
