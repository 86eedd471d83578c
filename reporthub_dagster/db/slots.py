"""Slots and what is known of each schedule: which of them need a decision, and what became of the last."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    and_,
    delete,
    func,
    not_,
    or_,
    select,
    update,
)
from sqlalchemy.engine import Row

from reporthub_dagster.db import rows
from reporthub_dagster.db.inserting import chunks
from reporthub_dagster.db.ledger import ScheduleState, Slot
from reporthub_dagster.db.models import ReportConfig, ReportExecution, ReportSchedule
from reporthub_dagster.db.session import Hub
from reporthub_dagster.reporting.records import Schedule


@dataclass(frozen=True, slots=True)
class KnownState:
    """A row of `reporthub_schedules`, less its key."""

    cron_expression: str
    timezone: str
    decided_through: datetime
    due_at: datetime | None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class PendingSchedule:
    """An active schedule of an active report that needs a look.

    Attributes:
        parameters: Of its report, whatever the column holds.
        state: What was known of it; None when it is seen for the first time.
    """

    schedule: Schedule
    parameters: Any
    state: KnownState | None


class Slots:
    """What schedulers see of schedules and their slots."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def count_active(self) -> int:
        """How many schedules there are to watch."""
        query = select(func.count()).select_from(ReportSchedule).join(ReportConfig, _of_config())
        with self._hub.begin() as connection:
            return int(connection.scalar(query.where(_is_active())) or 0)

    def forget_inactive(self) -> None:
        """Drop what is known of schedules that are no longer active: when they are again, they are new."""
        state = ScheduleState
        query = (
            select(state.schedule_id)
            .outerjoin(ReportSchedule, ReportSchedule.id == state.schedule_id)
            .outerjoin(ReportConfig, _of_config())
            .where(or_(ReportSchedule.id.is_(None), not_(_is_active())))
        )
        with self._hub.begin() as connection:
            gone = connection.scalars(query).all()
            for ids in chunks(gone):
                connection.execute(delete(state).where(state.schedule_id.in_(ids)))

    def pending(self, now: datetime) -> list[PendingSchedule]:
        """The schedules that are due, new, edited or have a problem; those waiting longest come first.

        The database compares, so that a tick with nothing to do reads nothing, however many there are.
        """
        with self._hub.begin() as connection:
            found = connection.execute(_select_pending(now)).all()
        return [self._pending_schedule(row) for row in found]

    def latest(self, schedule_id: int, limit: int) -> list[Row[Any]]:
        """The last slots of a schedule with the status of their executions, newest first."""
        execution = ReportExecution
        query: Any = (
            select(Slot.slot, Slot.state, Slot.reason, Slot.execution_id, execution.status)
            .outerjoin(execution, execution.id == Slot.execution_id)
            .where(Slot.schedule_id == schedule_id)
            .order_by(Slot.slot.desc())
            .limit(limit)
        )
        with self._hub.begin() as connection:
            return list(connection.execute(query).all())

    def _pending_schedule(self, row: Row[Any]) -> PendingSchedule:
        schedule = Schedule(
            id=row.id,
            config_id=row.config_id,
            cron_expression=row.cron_expression,
            timezone=row.timezone,
            is_active=True,
            last_run_at=rows.to_utc(row.last_run_at, self._hub.zone),
            next_run_at=rows.to_utc(row.next_run_at, self._hub.zone),
        )
        state = None
        if row.decided_through is not None:
            state = KnownState(
                row.known_cron, row.known_timezone, row.decided_through, row.due_at, row.problem
            )
        return PendingSchedule(schedule, row.parameters, state)


def _select_pending(now: datetime) -> Any:
    schedule, state = ReportSchedule, ScheduleState
    return (
        select(
            schedule.id,
            schedule.config_id,
            schedule.cron_expression,
            schedule.timezone,
            schedule.last_run_at,
            schedule.next_run_at,
            ReportConfig.parameters,
            state.cron_expression.label("known_cron"),
            state.timezone.label("known_timezone"),
            state.decided_through,
            state.due_at,
            state.problem,
        )
        .join(ReportConfig, _of_config())
        .outerjoin(state, state.schedule_id == schedule.id)
        .where(
            _is_active(),
            or_(
                state.schedule_id.is_(None),
                state.due_at <= now,
                state.problem.is_not(None),
                state.cron_expression != schedule.cron_expression,
                state.timezone != schedule.timezone,
            ),
        )
        .order_by(func.coalesce(state.due_at, now), schedule.id)
    )


def _of_config() -> ColumnElement[bool]:
    return ReportConfig.id == ReportSchedule.config_id


def _is_active() -> ColumnElement[bool]:
    """An inactive report's schedules are as good as inactive."""
    return and_(ReportSchedule.is_active, ReportConfig.is_active)


def note_slot(hub: Hub, execution_id: str, reason: str) -> None:
    """Say beside the slot of an execution, if it is for one, what became of it."""
    of_execution = update(Slot).where(Slot.execution_id == execution_id)
    with hub.begin() as connection:
        connection.execute(of_execution.values(reason=reason))
