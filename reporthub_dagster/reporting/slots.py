"""The due slots of a schedule and the fate of each: launched, coalesced into a later one, or skipped."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Literal
from uuid import UUID, uuid5

from reporthub_dagster.reporting.schedule import Cron
from reporthub_dagster.reporting.schedule_policy import SchedulePolicy

SlotState = Literal["launched", "coalesced", "skipped"]

MOST_SLOTS = 500
"""Slots that one decision names one by one; one row speaks for all that are older."""
MOST_LAUNCHED = 100
"""Slots that one decision launches under `catch_up: all`."""
_MINUTE = timedelta(minutes=1)
_EXECUTIONS = UUID("5d0f6d3c-6b0e-5a56-9f0a-3e6f7c2b8a11")
"""Namespace of the ids of scheduled executions; it may never change."""


@dataclass(frozen=True, slots=True)
class SlotDecision:
    """The fate of a slot.

    Attributes:
        slot: When it was due, in UTC.
        reason: Why it is not launched, in one clause; None when it is.
    """

    slot: datetime
    state: SlotState
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class DueSlots:
    """The slots of an interval, in order.

    Attributes:
        slots: The newest, at most MOST_SLOTS.
        oldest_left_out: The first slot of the interval, when there are more than that.
    """

    slots: tuple[datetime, ...]
    oldest_left_out: datetime | None = None


def scheduled_execution_id(schedule_id: int, slot: datetime) -> str:
    """The id of a slot's execution: the same on every scheduler, so that asking twice is asking once."""
    return str(uuid5(_EXECUTIONS, f"{schedule_id}:{slot.isoformat()}"))


def jitter_of(schedule_id: int, policy: SchedulePolicy) -> timedelta:
    """How long after its slots a schedule starts: spread over schedules, constant for each."""
    digest = hashlib.blake2b(str(schedule_id).encode(), digest_size=8).digest()
    return timedelta(seconds=int.from_bytes(digest, "big") % (policy.jitter_seconds + 1))


@lru_cache(maxsize=65_536)
def next_slot(cron: Cron, after: datetime) -> datetime:
    """`Cron.next_after`, worked out once for all schedules that share a cron and a moment."""
    return cron.next_after(after)


@lru_cache(maxsize=4_096)
def due_slots(cron: Cron, after: datetime, until: datetime) -> DueSlots:
    """The slots in (after, until]; the work is bounded however long the interval is."""
    first = next_slot(cron, after)
    if first > until:
        return DueSlots(())
    reach = MOST_SLOTS * _MINUTE  # a cron has at most one slot a minute
    while True:
        start = max(after, until - reach)
        slots = _between(cron, start, until)
        if start == after or len(slots) >= MOST_SLOTS:
            newest = tuple(slots[-MOST_SLOTS:])
            return DueSlots(newest, first if newest[0] > first else None)
        reach *= 2


def decide_slots(
    cron: Cron, decided_through: datetime, now: datetime, policy: SchedulePolicy, *, busy: bool = False
) -> tuple[SlotDecision, ...]:
    """The fate of every slot in (decided_through, now], oldest first.

    Args:
        cron: When slots are due.
        decided_through: Up to where slots have their fate.
        now: Up to where they need one.
        policy: What the report wants.
        busy: Whether an earlier execution of the schedule is queued or running.
    """
    due = due_slots(cron, decided_through, now)
    reasons = {slot: _reason_to_skip(slot, cron, now, policy, busy) for slot in due.slots}
    wanted = [slot for slot in due.slots if reasons[slot] is None]
    launched = set(wanted[-_most_launched(policy) :])
    decisions = [_oldest(due, policy)] if due.oldest_left_out else []
    for slot in due.slots:
        if slot in launched:
            decisions.append(SlotDecision(slot, "launched"))
        elif reason := reasons[slot]:
            decisions.append(SlotDecision(slot, "skipped", reason))
        else:
            decisions.append(SlotDecision(slot, "coalesced", f"into the slot of {_text(min(launched))}"))
    return tuple(decisions)


def _reason_to_skip(
    slot: datetime, cron: Cron, now: datetime, policy: SchedulePolicy, busy: bool
) -> str | None:
    outside = policy.reason_outside(slot.astimezone(cron.zone))
    if outside:
        return outside
    if policy.catch_up == "skip" and now - slot > policy.grace:
        return f"missed: older than misfire_grace_minutes = {policy.misfire_grace_minutes}"
    if busy and policy.overlap == "skip":
        return "overlap: an earlier execution is not over"
    return None


def _most_launched(policy: SchedulePolicy) -> int:
    """Under `overlap: skip` one alone: the others would run beside it."""
    return MOST_LAUNCHED if policy.catch_up == "all" and policy.overlap != "skip" else 1


def _oldest(due: DueSlots, policy: SchedulePolicy) -> SlotDecision:
    """The one row for every slot older than those that are named."""
    assert due.oldest_left_out is not None  # noqa: S101 - for the type checker
    state: SlotState = "skipped" if policy.catch_up == "skip" else "coalesced"
    words = f"missed: this and every slot before {_text(due.slots[0])}, more than {MOST_SLOTS} at once"
    return SlotDecision(due.oldest_left_out, state, words)


def _between(cron: Cron, after: datetime, until: datetime) -> Sequence[datetime]:
    slots = []
    slot = cron.next_after(after)
    while slot <= until:
        slots.append(slot)
        slot = cron.next_after(slot)
    return slots


def _text(slot: datetime) -> str:
    return f"{slot:%Y-%m-%d %H:%M} UTC"
