"""Forgetting what nobody needs any more, piece by piece: old slots, requests for runs, settled leases."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, delete, or_, select, true

from reporthub_dagster.db.ledger import Circuit, LateNotice, Launch, Lease, SchedulerTick, ScheduleState, Slot
from reporthub_dagster.db.models import ReportExecution
from reporthub_dagster.db.session import Hub

MOST_FORGOTTEN = 500
"""Rows of a table that go at once."""
_REQUESTS_KEPT = timedelta(days=7)
_TICKS_KEPT = timedelta(days=1)


class Retention:
    """What of our own tables is kept, and for how long.

    Args:
        hub: The shared database.
        keep: How long slots and settled leases stay.
    """

    def __init__(self, hub: Hub, keep: timedelta) -> None:
        self._hub = hub
        self._keep = keep

    def forget(self, now: datetime) -> int:
        """Delete a piece of what is too old; returns how many rows went.

        What belongs to an execution without an outcome stays. A slot goes only when its schedule's later ones
        are decided: it can never become due again.

        Raises:
            ConfigurationError, TransientError: The database does not do its work.
        """
        old = now - self._keep
        with self._hub.begin() as connection:
            forgotten = _forget_slots(connection, old)
            forgotten += _forget(connection, Lease, Lease.heartbeat_at < old.replace(tzinfo=None))
            forgotten += _forget(connection, Launch, Launch.requested_at < now - _REQUESTS_KEPT)
            forgotten += _forget(connection, LateNotice, true())
            silent = SchedulerTick.ticked_at < (now - _TICKS_KEPT).replace(tzinfo=None)
            connection.execute(delete(SchedulerTick).where(silent))
            untried = Circuit.failed_at < (now - _TICKS_KEPT).replace(tzinfo=None)
            connection.execute(delete(Circuit).where(untried))  # whoever waits has it probed more often
        return forgotten


def _forget_slots(connection: Connection, old: datetime) -> int:
    state = ScheduleState
    query: Any = (
        select(Slot.schedule_id, Slot.slot)
        .outerjoin(state, state.schedule_id == Slot.schedule_id)
        .outerjoin(ReportExecution, ReportExecution.id == Slot.execution_id)
        .where(
            Slot.slot < old,
            or_(state.schedule_id.is_(None), state.decided_through > Slot.slot),
            _is_over(),
        )
        .order_by(Slot.slot)
        .limit(MOST_FORGOTTEN)
    )
    found = connection.execute(query).all()
    by_schedule: dict[int, list[datetime]] = {}
    for schedule_id, slot in found:
        by_schedule.setdefault(schedule_id, []).append(slot)
    for schedule_id, slots in by_schedule.items():
        same = and_(Slot.schedule_id == schedule_id, Slot.slot.in_(slots))
        connection.execute(delete(Slot).where(same))
    return len(found)


def _forget(
    connection: Connection, table: type[Lease | Launch | LateNotice], is_old: ColumnElement[bool]
) -> int:
    """Rows of a table that has a row or a few per execution."""
    query: Any = (
        select(table.execution_id)
        .outerjoin(ReportExecution, ReportExecution.id == table.execution_id)
        .where(is_old, _is_over())
        .distinct()
        .limit(MOST_FORGOTTEN)
    )
    found: Sequence[str] = connection.scalars(query).all()
    if found:
        connection.execute(delete(table).where(table.execution_id.in_(found), is_old))
    return len(found)


def _is_over() -> ColumnElement[bool]:
    """The execution has its outcome, or is gone."""
    status = ReportExecution.status
    return or_(status.is_(None), status.in_(("completed", "failed", "cancelled")))
