"""Asking for runs of executions that wait: whose turn it is, and that no two schedulers ask for the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from reporthub_dagster.db.queue import ExecutionQueue, WaitingExecution
from reporthub_dagster.reporting.errors import ConfigurationError
from reporthub_dagster.reporting.schedule_policy import SchedulePolicy, parse_policy

MOST_LAUNCHES = 50
"""Runs asked for in one tick: Dagster writes all of them into one row of 64 KiB before it starts any."""
MOST_ATTEMPTS = 5
PATIENCE = timedelta(seconds=60)
"""How long a run may take from being asked for to its claim, or to Dagster's own queue."""
_SHOWN = 5

InFlight = Callable[[Sequence[str]], AbstractSet[str]]
"""Of some execution ids, those that have a run which has not started yet."""


@dataclass(frozen=True, slots=True)
class Launch:
    """A run to start now."""

    execution_id: str
    attempt: int
    config_id: int
    schedule_id: int | None
    datasource_id: int
    executed_by: str
    is_backfill: bool = False

    @property
    def run_key(self) -> str:
        """Distinct for every attempt: Dagster starts no run key twice, ever."""
        return f"{self.execution_id}:{self.attempt}"


@dataclass(slots=True)
class TickNotes:
    """What a tick has to say."""

    due: int = 0
    held: int = 0
    skipped: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def message(self, schedules: int, launches: int) -> str:
        """The tick in one line."""
        parts = [
            f"{self.due:,} of {schedules:,} schedules due",
            f"{launches:,} {'run' if launches == 1 else 'runs'} asked for",
        ]
        if self.held:
            parts.append(f"{self.held:,} held back by an earlier execution of their schedule")
        if self.skipped:
            parts.append(f"{len(self.skipped):,} skipped: {_some(self.skipped)}")
        if self.problems:
            parts.append(f"{len(self.problems):,} with a problem: {_some(self.problems)}")
        return "; ".join(parts)


class Launcher:
    """Asks for runs.

    Args:
        queue: What waits.
        defaults: Policy of reports that say nothing themselves.
    """

    def __init__(self, queue: ExecutionQueue, defaults: SchedulePolicy) -> None:
        self._queue = queue
        self._defaults = defaults

    def launches(self, now: datetime, in_flight: InFlight, notes: TickNotes) -> tuple[Launch, ...]:
        """Ask for a run of every execution that waits, has its turn, and was not asked for a moment ago."""
        ready = self._whose_turn_it_is(self._queue.waiting(), now, notes)
        overdue = [one.id for one in ready if _waited(one, now) >= PATIENCE / 2]
        under_way = in_flight(overdue) if overdue else frozenset()
        if under_way:
            self._queue.still_under_way(sorted(under_way), now)
        wanted: dict[str, WaitingExecution] = {}
        for one in ready:
            if len(wanted) == MOST_LAUNCHES:
                break
            if one.requested_at is not None and (one.id in under_way or _waited(one, now) < PATIENCE):
                continue
            if one.tries >= MOST_ATTEMPTS:
                self._give_up(one, now, notes)
            else:
                wanted[one.id] = one
        asked = self._queue.request({key: one.attempts + 1 for key, one in wanted.items()}, now)
        return tuple(_launch(one) for key, one in wanted.items() if key in asked)

    def _whose_turn_it_is(
        self, waiting: Sequence[WaitingExecution], now: datetime, notes: TickNotes
    ) -> list[WaitingExecution]:
        """Under `overlap: queue` an execution waits until no earlier one of its schedule is left."""
        schedules = {one.schedule_id for one in waiting if one.schedule_id is not None}
        ids = {one.id for one in waiting}
        running = self._queue.unfinished(schedules, now) if schedules else []
        taken = {one.schedule_id for one in running if one.execution_id not in ids}
        turn = []
        for one in waiting:
            if one.schedule_id in taken and self._overlap(one) == "queue":
                notes.held += 1
                continue
            if one.schedule_id is not None:
                taken.add(one.schedule_id)
            turn.append(one)
        return turn

    def _overlap(self, waiting: WaitingExecution) -> str:
        try:
            return parse_policy(waiting.config_id, waiting.parameters, self._defaults).overlap
        except ConfigurationError:
            return self._defaults.overlap  # the schedule's own problem says so already

    def _give_up(self, waiting: WaitingExecution, now: datetime, notes: TickNotes) -> None:
        error = f"{MOST_ATTEMPTS} runs were asked for and none of them began; see the runs in the Dagster UI"
        if self._queue.give_up(waiting.id, error, now):
            notes.problems.append(f"execution {waiting.id}: {error}")


def _waited(waiting: WaitingExecution, now: datetime) -> timedelta:
    return now - waiting.requested_at if waiting.requested_at else timedelta(0)


def _launch(waiting: WaitingExecution) -> Launch:
    return Launch(
        waiting.id,
        waiting.attempts + 1,
        waiting.config_id,
        waiting.schedule_id,
        waiting.datasource_id,
        waiting.executed_by,
        waiting.is_backfill,
    )


def _some(texts: Sequence[str]) -> str:
    more = f" … and {len(texts) - _SHOWN:,} more" if len(texts) > _SHOWN else ""
    return " | ".join(texts[:_SHOWN]) + more
