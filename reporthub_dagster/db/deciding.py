"""Writing what a scheduler decided, many schedules a transaction, so that each decision counts once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select, update

from reporthub_dagster.db import rows
from reporthub_dagster.db.inserting import chunks, insert_many_new
from reporthub_dagster.db.ledger import ScheduleState, Slot
from reporthub_dagster.db.models import ReportExecution, ReportSchedule
from reporthub_dagster.db.session import Hub
from reporthub_dagster.db.slots import KnownState, PendingSchedule
from reporthub_dagster.reporting.slots import SlotDecision, scheduled_execution_id

MOST_SCHEDULES = 100
"""Schedules of one transaction: other schedulers pass over them meanwhile."""
MOST_SLOTS = 1_000
"""Slots of one transaction, unless a single schedule has more."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What a scheduler decided about one schedule.

    Attributes:
        pending: The schedule as the scheduler saw it.
        new: What is known of it from now on.
        slots: Their fates; a slot that has one already keeps it.
        contexts: What `execution_context` of each launched slot begins with.
    """

    pending: PendingSchedule
    new: KnownState
    slots: Sequence[SlotDecision] = ()
    contexts: Mapping[datetime, Mapping[str, Any]] | None = None

    @property
    def schedule_id(self) -> int:
        """Whose it is."""
        return self.pending.schedule.id


class Decisions:
    """What schedulers write of schedules.

    Args:
        hub: The shared database.
        waiting_status: What the status column calls an execution that waits for its run; see
            `ExecutionQueue.waiting_status`.
    """

    def __init__(self, hub: Hub, waiting_status: str) -> None:
        self._hub = hub
        self._waiting_status = waiting_status

    def add(self, states: Mapping[int, KnownState]) -> None:
        """Remember schedules that are seen for the first time, and when they are due."""
        for portion in chunks(sorted(states.items())):
            with self._hub.begin() as connection:
                values = [{"schedule_id": key, **_values(state)} for key, state in portion]
                insert_many_new(connection, ScheduleState, values)
                self._write_next_runs(connection, ((key, state.due_at) for key, state in portion))

    def write(self, decisions: Sequence[Decision], now: datetime) -> set[int]:
        """Write fates of slots, a queued execution for each that is launched, and the new states, in one go.

        Returns:
            The schedules of which it was written: not those that another scheduler has decided since they
            were seen, or decides at this moment.
        """
        with self._hub.begin() as connection:
            mine = _still_as_seen(connection, decisions)
            for new, ids in _grouped((one.new, one.schedule_id) for one in mine).items():
                same = ScheduleState.schedule_id.in_(ids)
                connection.execute(update(ScheduleState).where(same).values(_values(new)))
            # Before the executions: their foreign key takes a shared lock on the same row, and to raise it
            # later is a deadlock with a run that moves last_run_at.
            moved = [one for one in mine if one.new.due_at != one.pending.schedule.next_run_at]
            self._write_next_runs(connection, ((one.schedule_id, one.new.due_at) for one in moved))
            self._write_slots(connection, mine, now)
        return {one.schedule_id for one in mine}

    def _write_slots(self, connection: Connection, decisions: Sequence[Decision], now: datetime) -> None:
        decided = _with_a_fate(connection, decisions)
        pairs = [
            (one, slot)
            for one in decisions
            for slot in one.slots
            if (one.schedule_id, slot.slot) not in decided
        ]
        launched = [(one, slot) for one, slot in pairs if slot.state == "launched"]
        if pairs:
            connection.execute(insert(Slot), [_slot_row(one, slot, now) for one, slot in pairs])
        if launched:
            connection.execute(insert(ReportExecution), [self._execution_row(*pair) for pair in launched])

    def _execution_row(self, decision: Decision, slot: SlotDecision) -> dict[str, Any]:
        schedule = decision.pending.schedule
        return {
            "id": scheduled_execution_id(schedule.id, slot.slot),
            "config_id": schedule.config_id,
            "schedule_id": schedule.id,
            "status": self._waiting_status,
            # When it was wanted, so that what has waited longest runs first; a claim writes its own.
            "started_at": rows.to_wall(slot.slot, self._hub.zone),
            "executed_by": "schedule",
            "execution_context": dict((decision.contexts or {})[slot.slot]),
        }

    def _write_next_runs(self, connection: Connection, due: Iterable[tuple[int, datetime | None]]) -> None:
        """What falls due together in one statement; naming `updated_at` keeps MySQL from touching it."""
        table = ReportSchedule
        for due_at, ids in _grouped((due_at, key) for key, due_at in due).items():
            next_run = rows.to_wall(due_at, self._hub.zone) if due_at else None
            connection.execute(
                update(table)
                .where(table.id.in_(ids))
                .values(next_run_at=next_run, updated_at=table.updated_at)
            )


def portions(decisions: Sequence[Decision]) -> Iterator[Sequence[Decision]]:
    """The decisions in transactions of a bounded size."""
    portion: list[Decision] = []
    slots = 0
    for decision in decisions:
        if portion and (len(portion) == MOST_SCHEDULES or slots + len(decision.slots) > MOST_SLOTS):
            yield portion
            portion, slots = [], 0
        portion.append(decision)
        slots += len(decision.slots)
    if portion:
        yield portion


def _still_as_seen(connection: Connection, decisions: Sequence[Decision]) -> list[Decision]:
    """Lock the states and compare: the decisions that this transaction may write.

    What another scheduler holds is passed over, so that none waits for another and none locks in vain.
    """
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # its one lock; it knows no FOR UPDATE
    if connection.dialect.name in {"mysql", "mariadb"}:
        # Otherwise an update that reads the whole table waits for rows that it would not even change.
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
    table = ScheduleState
    seen: Any = select(table.schedule_id, table.decided_through, table.cron_expression, table.timezone)
    ids = sorted(one.schedule_id for one in decisions)
    lock = seen.where(table.schedule_id.in_(ids)).with_for_update(skip_locked=True)
    present = {row.schedule_id: tuple(row)[1:] for row in connection.execute(lock)}
    return [one for one in decisions if _key(one.pending.state) == present.get(one.schedule_id)]


def _key(known: KnownState | None) -> tuple[Any, ...] | None:
    # None would equal what is absent: a schedule without a state is nobody's to decide.
    return (known.decided_through, known.cron_expression, known.timezone) if known else ()


def _with_a_fate(connection: Connection, decisions: Sequence[Decision]) -> set[tuple[int, datetime]]:
    """Of the slots of some decisions those that are decided already; nobody else can add any now."""
    ids = [one.schedule_id for one in decisions if one.slots]
    slots = sorted({slot.slot for one in decisions for slot in one.slots})
    query = select(Slot.schedule_id, Slot.slot).where(Slot.schedule_id.in_(ids))
    return {
        (row[0], row[1])
        for portion in chunks(slots)
        for row in connection.execute(query.where(Slot.slot.in_(portion)))
    }


def _slot_row(decision: Decision, slot: SlotDecision, now: datetime) -> dict[str, Any]:
    launched = slot.state == "launched"
    return {
        "schedule_id": decision.schedule_id,
        "slot": slot.slot,
        "state": slot.state,
        "reason": slot.reason,
        "execution_id": scheduled_execution_id(decision.schedule_id, slot.slot) if launched else None,
        "decided_at": now,
    }


def _grouped(pairs: Iterable[tuple[Any, int]]) -> dict[Any, list[int]]:
    """Value → the schedules that share it."""
    found: dict[Any, list[int]] = defaultdict(list)
    for value, schedule_id in pairs:
        found[value].append(schedule_id)
    return found


def _values(state: KnownState) -> dict[str, Any]:
    return {
        "cron_expression": state.cron_expression,
        "timezone": state.timezone,
        "decided_through": state.decided_through,
        "due_at": state.due_at,
        "problem": state.problem,
    }
