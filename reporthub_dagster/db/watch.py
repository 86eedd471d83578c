"""What a monitor asks every minute: what is late, what is due and done, what waits for another attempt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, exists, func, not_, or_, select
from sqlalchemy.engine import Row

from reporthub_dagster.db import rows
from reporthub_dagster.db.circuits import held_back
from reporthub_dagster.db.claims import NOBODY, WAITING
from reporthub_dagster.db.clock import utc_ago
from reporthub_dagster.db.leases import is_silent
from reporthub_dagster.db.ledger import LateNotice, Lease, LedgerEntry, Notice, ScheduleState, Slot
from reporthub_dagster.db.models import ReportConfig, ReportExecution, ReportSchedule
from reporthub_dagster.db.notices import may_be_told
from reporthub_dagster.db.session import Hub

MOST_NAMED = 100
"""Late executions and schedules that are named one by one."""
_OPEN = ("queued", "running")


@dataclass(frozen=True, slots=True)
class LateExecution:
    """An execution without an outcome that was wanted long ago.

    Attributes:
        slot: None when it is not for one.
        wanted_at: The slot; else when it was queued or started.
    """

    id: str
    config_id: int
    schedule_id: int | None
    slot: datetime | None
    status: str
    wanted_at: datetime


@dataclass(frozen=True, slots=True)
class LateSchedule:
    """A schedule whose due slots no scheduler has decided."""

    schedule_id: int
    due_at: datetime


@dataclass(frozen=True, slots=True)
class Counted:
    """How many slots have a fate and, when they were launched, a status; None where the row is gone."""

    state: str
    status: str | None
    slots: int


class Watch:
    """Questions about the shared database that cost a few indexed reads each."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def late_executions(self, before: datetime) -> list[LateExecution]:
        """Queued or running and wanted before a moment, the oldest first, 100 at the most.

        A running row that is for no slot and that nobody of ours ever leased is another program's.
        """
        return [self._late(row) for row in self._all(self._late_query(before))]

    def late_and_untold(self, before: datetime) -> list[LateExecution]:
        """As `late_executions`, of those that people are to be told of.

        Of a report nobody is told twice in an hour. An execution begun anew is late by its new claim.
        """
        first = or_(ReportExecution.status == "queued", Lease.token.is_(None), Lease.token <= 1)
        query = (
            self._late_query(before)
            .outerjoin(LateNotice, LateNotice.execution_id == ReportExecution.id)
            .outerjoin(Notice, Notice.config_id == ReportExecution.config_id)
            .where(LateNotice.execution_id.is_(None), may_be_told())
            .where(or_(first, Lease.claimed_at < rows.to_wall(before, self._hub.zone)))
        )
        return [self._late(row) for row in self._all(query)]

    def late_schedules(self, before: datetime) -> list[LateSchedule]:
        """Schedules that were due before a moment and have not been decided since, 100 at the most."""
        state, schedule = ScheduleState, ReportSchedule
        query: Any = (
            select(state.schedule_id, state.due_at)
            .join(schedule, schedule.id == state.schedule_id)
            .join(ReportConfig, ReportConfig.id == schedule.config_id)
            .where(state.due_at < before, schedule.is_active, ReportConfig.is_active)
            .order_by(state.due_at, state.schedule_id)
            .limit(MOST_NAMED)
        )
        return [LateSchedule(row.schedule_id, row.due_at) for row in self._all(query)]

    def slots_since(self, since: datetime) -> list[Counted]:
        """What became of the slots that were due since a moment."""
        status = ReportExecution.status
        query: Any = (
            select(Slot.state, status, func.count().label("slots"))
            .outerjoin(ReportExecution, ReportExecution.id == Slot.execution_id)
            .where(Slot.slot >= since)
            .group_by(Slot.state, status)
        )
        return [Counted(row.state, row.status, row.slots) for row in self._all(query)]

    def retries_due(self) -> int:
        """Executions that another run should hold by now: theirs died, or a delivery is to be tried again."""
        time_has_come = exists().where(
            LedgerEntry.execution_id == Lease.execution_id,
            LedgerEntry.next_attempt_at <= utc_ago(),
            not_(held_back()),
        )
        return self._leases(or_(Lease.run_id == NOBODY, and_(Lease.run_id == WAITING, time_has_come)))

    def leases_lost(self) -> int:
        """Executions whose run has been silent for longer than its lease, and that nobody has settled yet."""
        return self._leases(is_silent())

    def _late_query(self, before: datetime) -> Any:
        execution = ReportExecution
        wanted = or_(
            Slot.slot < before,
            and_(Slot.slot.is_(None), execution.started_at < rows.to_wall(before, self._hub.zone)),
        )
        ours = or_(execution.status == "queued", Slot.slot.is_not(None), Lease.token.is_not(None))
        columns = (execution.id, execution.config_id, execution.schedule_id, execution.status)
        query: Any = select(*columns, execution.started_at, Slot.slot)
        return (
            query.outerjoin(Slot, Slot.execution_id == execution.id)
            .outerjoin(Lease, Lease.execution_id == execution.id)
            .where(execution.status.in_(_OPEN), wanted, ours)
            .order_by(execution.started_at, execution.id)
            .limit(MOST_NAMED)
        )

    def _leases(self, condition: ColumnElement[bool]) -> int:
        open_ones = ReportExecution.status.in_(_OPEN)
        query = (
            select(func.count())
            .select_from(Lease)
            .join(ReportExecution, ReportExecution.id == Lease.execution_id)
            .where(open_ones, condition)
        )
        return int(self._all(query)[0][0])

    def _all(self, query: Any) -> Sequence[Row[Any]]:
        with self._hub.begin() as connection:
            return connection.execute(query).all()

    def _late(self, row: Row[Any]) -> LateExecution:
        started = rows.to_utc(row.started_at, self._hub.zone)
        wanted_at: Any = row.slot or started
        return LateExecution(row.id, row.config_id, row.schedule_id, row.slot, row.status, wanted_at)
