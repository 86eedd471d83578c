"""Executions that wait for a run, whoever inserted them, and the runs that schedulers asked for.

A row in status `queued` is a request. Where the status column of an old MySQL installation has no such word,
a scheduled execution waits as `running`; what tells it from one that runs is that it belongs to a slot and
nobody has ever claimed it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, and_, or_, select, update
from sqlalchemy.engine import Row

from reporthub_dagster.db import rows
from reporthub_dagster.db.claims import NOBODY, WAITING
from reporthub_dagster.db.inserting import chunks, insert_new
from reporthub_dagster.db.leases import waiting_status
from reporthub_dagster.db.ledger import Backfill, Launch, Lease, Slot
from reporthub_dagster.db.models import ReportConfig, ReportExecution
from reporthub_dagster.db.session import Hub

_IS_BACKFILL = Backfill.execution_id.is_not(None).label("is_backfill")
MOST_WAITING = 5_000
"""Waiting executions that one tick looks at, oldest first."""
_ABANDONED = timedelta(hours=2)
"""A report runs an hour at most: a running row older than this that nobody leased is nobody's any more."""


@dataclass(frozen=True, slots=True)
class WaitingExecution:
    """An execution that no run has claimed.

    Attributes:
        parameters: Of its report, whatever the column holds.
        attempts: How many runs were asked for so far.
        tries: How many since it waits: a run that began and died was an answer.
        requested_at: When the last of these was.
        is_backfill: It is of the past, and comes after everything that is due.
    """

    id: str
    config_id: int
    schedule_id: int | None
    datasource_id: int
    executed_by: str
    parameters: Any
    attempts: int = 0
    tries: int = 0
    requested_at: datetime | None = None
    is_backfill: bool = False


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A queued or running execution of a schedule; `slot` is None when it is not for one."""

    execution_id: str
    schedule_id: int
    slot: datetime | None


class ExecutionQueue:
    """What waits, and what was asked for."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        with hub.begin() as connection:
            self.waiting_status = waiting_status(connection)

    def waiting(self) -> list[WaitingExecution]:
        """Executions that no run holds: those that a run has begun, then those wanted first, at the head.

        What was begun has its window, and the next window of its schedule begins where that one ends.
        """
        with self._hub.begin() as connection:
            found = sorted(connection.execute(self._select_waiting()).all(), key=self._wanted)
            configs = _by_id(connection, {row.config_id for row in found})
            launches = _launches(connection, [row.id for row in found])
        return [_waiting(row, configs[row.config_id], launches[row.id]) for row in found]

    def unfinished(self, schedule_ids: Iterable[int], now: datetime) -> list[Unfinished]:
        """Executions of some schedules that are not over; one that waits for a retry holds nothing back.

        A running row that is hours old, that nobody leased and that is for no slot was left behind by another
        program, and holds nothing back.
        """
        execution = ReportExecution
        query: Any = (
            select(execution.id, execution.schedule_id, execution.status, execution.started_at, Slot.slot)
            .outerjoin(Slot, Slot.execution_id == execution.id)
            .outerjoin(Lease, Lease.execution_id == execution.id)
            .where(execution.status.in_(("queued", "running")))
            .where(or_(Lease.run_id.is_(None), Lease.run_id != WAITING))
        )
        with self._hub.begin() as connection:
            found = [
                row
                for ids in chunks(sorted(schedule_ids))
                for row in connection.execute(query.where(execution.schedule_id.in_(ids)))
            ]
            old = {row.id for row in found if self._may_be_abandoned(row, now)}
            abandoned = old - _leased(connection, sorted(old))
        return [Unfinished(row.id, row.schedule_id, row.slot) for row in found if row.id not in abandoned]

    def request(self, attempts: Mapping[str, int], now: datetime) -> set[str]:
        """Ask for runs of executions; returns those for which no other scheduler has asked for the attempt.

        Args:
            attempts: Execution id → which attempt it is.
            now: The time.
        """
        with self._hub.begin() as connection:
            # In one order, so that two schedulers never wait for each other.
            return {
                execution_id
                for execution_id, attempt in sorted(attempts.items())
                if insert_new(
                    connection,
                    Launch,
                    {"execution_id": execution_id, "attempt": attempt, "requested_at": now},
                )
            }

    def still_under_way(self, execution_ids: Sequence[str], now: datetime) -> None:
        """Their runs wait in Dagster's own queue: the time until they are asked for again starts anew."""
        with self._hub.begin() as connection:
            for ids in chunks(execution_ids):
                connection.execute(
                    update(Launch).where(Launch.execution_id.in_(ids)).values(requested_at=now)
                )

    def give_up(self, execution_id: str, error: str, now: datetime) -> bool:
        """End an execution that still waits as failed; False when a run has claimed it meanwhile."""
        execution = ReportExecution
        row = (execution.id == execution_id, execution.status == self.waiting_status)
        values = {
            "status": "failed",
            "completed_at": rows.to_wall(now, self._hub.zone),
            "error_message": error,
        }
        with self._hub.begin() as connection:
            if self.waiting_status != "queued" and _leased(connection, [execution_id]):
                return False
            return connection.execute(update(execution).where(*row).values(values)).rowcount == 1

    def _select_waiting(self) -> Any:
        execution = ReportExecution
        query: Any = (
            select(
                execution.id,
                execution.config_id,
                execution.schedule_id,
                execution.executed_by,
                execution.started_at,
                Slot.slot,
                Lease.run_id,
                Lease.heartbeat_at.label("settled_at"),
                _IS_BACKFILL,
            )
            .outerjoin(Slot, Slot.execution_id == execution.id)
            .outerjoin(Lease, Lease.execution_id == execution.id)
            .outerjoin(Backfill, Backfill.execution_id == execution.id)
        )
        condition = execution.status == "queued"
        if self.waiting_status != "queued":
            unclaimed = and_(Slot.state == "launched", Lease.execution_id.is_(None))
            waits = and_(execution.status == "running", or_(unclaimed, Lease.run_id == NOBODY))
            condition = or_(condition, waits)
        first = (_IS_BACKFILL, execution.started_at, execution.id)
        return query.where(condition).order_by(*first).limit(MOST_WAITING)

    def _wanted(self, row: Row[Any]) -> tuple[bool, bool, datetime, str]:
        """What the waiting are sorted by; a slot is when it was wanted, whenever it was begun."""
        started = rows.to_utc(row.started_at, self._hub.zone) or datetime.max.replace(tzinfo=UTC)
        return row.run_id != NOBODY, bool(row.is_backfill), row.slot or started, row.id

    def _may_be_abandoned(self, row: Row[Any], now: datetime) -> bool:
        started = rows.to_utc(row.started_at, self._hub.zone)
        is_old = started is not None and started < now - _ABANDONED
        return bool(row.status == "running" and row.slot is None and is_old)


def _waiting(row: Row[Any], config: Row[Any], launches: Sequence[Row[Any]]) -> WaitingExecution:
    since = row.settled_at.replace(tzinfo=UTC, microsecond=0) if row.run_id == NOBODY else None
    tries = [one.requested_at for one in launches if since is None or one.requested_at >= since]
    return WaitingExecution(
        id=row.id,
        config_id=row.config_id,
        schedule_id=row.schedule_id,
        datasource_id=config.datasource_id,
        executed_by=row.executed_by,
        parameters=config.parameters,
        attempts=max((one.attempt for one in launches), default=0),
        tries=len(tries),
        requested_at=max(tries, default=None),
        is_backfill=bool(row.is_backfill),
    )


def _leased(connection: Connection, execution_ids: Sequence[str]) -> set[str]:
    return {
        found
        for ids in chunks(execution_ids)
        for found in connection.scalars(select(Lease.execution_id).where(Lease.execution_id.in_(ids)))
    }


def _by_id(connection: Connection, config_ids: Iterable[int]) -> dict[int, Row[Any]]:
    config = ReportConfig
    query: Any = select(config.id, config.datasource_id, config.parameters)
    return {
        row.id: row
        for ids in chunks(sorted(config_ids))
        for row in connection.execute(query.where(config.id.in_(ids)))
    }


def _launches(connection: Connection, execution_ids: Sequence[str]) -> dict[str, list[Row[Any]]]:
    query: Any = select(Launch.execution_id, Launch.attempt, Launch.requested_at)
    found: dict[str, list[Row[Any]]] = defaultdict(list)
    for ids in chunks(execution_ids):
        for row in connection.execute(query.where(Launch.execution_id.in_(ids))):
            found[row.execution_id].append(row)
    return found
