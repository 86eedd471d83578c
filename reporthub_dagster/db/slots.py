"""Slots and what is known of each schedule: which need a decision, and writing one so that it counts once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    delete,
    func,
    insert,
    not_,
    or_,
    select,
    update,
)
from sqlalchemy.engine import Row

from reporthub_dagster.db import rows
from reporthub_dagster.db.inserting import chunks, insert_many_new, insert_new
from reporthub_dagster.db.ledger import ScheduleState, Slot
from reporthub_dagster.db.models import ReportConfig, ReportExecution, ReportSchedule
from reporthub_dagster.db.session import Hub
from reporthub_dagster.reporting.records import Schedule
from reporthub_dagster.reporting.slots import SlotDecision, scheduled_execution_id


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
    """What schedulers decide.

    Args:
        hub: The shared database.
        waiting_status: What the status column calls an execution that waits for its run; see
            `ExecutionQueue.waiting_status`.
    """

    def __init__(self, hub: Hub, waiting_status: str) -> None:
        self._hub = hub
        self._waiting_status = waiting_status

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

    def add(self, states: Mapping[int, KnownState]) -> None:
        """Remember schedules that are seen for the first time, and when they are due."""
        for portion in chunks(sorted(states.items())):
            with self._hub.begin() as connection:
                values = [{"schedule_id": key, **_values(state)} for key, state in portion]
                insert_many_new(connection, ScheduleState, values)
                for key, state in portion:
                    self._write_next_run(connection, key, state.due_at)

    def decide(
        self,
        pending: PendingSchedule,
        new: KnownState,
        decisions: Sequence[SlotDecision],
        contexts: Mapping[datetime, Mapping[str, Any]],
        now: datetime,
    ) -> bool:
        """Write fates of slots, a queued execution for each that is launched, and the new state, in one go.

        Args:
            pending: The schedule as the caller saw it.
            new: What is known of it from now on.
            decisions: The fates; a slot that has one already keeps it.
            contexts: What `execution_context` of each launched slot begins with.
            now: The moment of the decision.

        Returns:
            Whether it was written; not when another scheduler was faster or the state is gone.
        """
        with self._hub.begin() as connection:
            if not _swap(connection, pending, new):
                return False
            # Before the executions: their foreign key takes a shared lock on the same row, and to raise it
            # later is a deadlock with a run that moves last_run_at.
            if new.due_at != pending.schedule.next_run_at:
                self._write_next_run(connection, pending.schedule.id, new.due_at)
            for decision in decisions:
                self._write_slot(connection, pending.schedule, decision, contexts, now)
        return True

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

    def _write_slot(
        self,
        connection: Connection,
        schedule: Schedule,
        decision: SlotDecision,
        contexts: Mapping[datetime, Mapping[str, Any]],
        now: datetime,
    ) -> None:
        launched = decision.state == "launched"
        execution_id = scheduled_execution_id(schedule.id, decision.slot) if launched else None
        values = {
            "schedule_id": schedule.id,
            "slot": decision.slot,
            "state": decision.state,
            "reason": decision.reason,
            "execution_id": execution_id,
            "decided_at": now,
        }
        if insert_new(connection, Slot, values) and launched:
            waiting = {
                "id": execution_id,
                "config_id": schedule.config_id,
                "schedule_id": schedule.id,
                "status": self._waiting_status,
                # When it was wanted, so that what has waited longest runs first; a claim writes its own.
                "started_at": rows.to_wall(decision.slot, self._hub.zone),
                "executed_by": "schedule",
                "execution_context": dict(contexts[decision.slot]),
            }
            connection.execute(insert(ReportExecution).values(waiting))

    def _write_next_run(self, connection: Connection, schedule_id: int, due_at: datetime | None) -> None:
        """Naming `updated_at` keeps MySQL from touching it."""
        next_run = rows.to_wall(due_at, self._hub.zone) if due_at else None
        connection.execute(
            update(ReportSchedule)
            .where(ReportSchedule.id == schedule_id)
            .values(next_run_at=next_run, updated_at=ReportSchedule.updated_at)
        )

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


def _values(state: KnownState) -> dict[str, Any]:
    return {
        "cron_expression": state.cron_expression,
        "timezone": state.timezone,
        "decided_through": state.decided_through,
        "due_at": state.due_at,
        "problem": state.problem,
    }


def _swap(connection: Connection, pending: PendingSchedule, new: KnownState) -> bool:
    """Compare-and-swap of the state; first of all, so that it is the lock that other schedulers wait for."""
    known, table = pending.state, ScheduleState
    if known is None:
        return False
    seen = (
        table.schedule_id == pending.schedule.id,
        table.decided_through == known.decided_through,
        table.cron_expression == known.cron_expression,
        table.timezone == known.timezone,
    )
    return connection.execute(update(table).where(*seen).values(_values(new))).rowcount == 1
