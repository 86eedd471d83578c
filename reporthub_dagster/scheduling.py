"""The scheduler: due slots become queued executions, and whatever is queued gets a run asked for.

It knows no Dagster; `sensors` turns its launches into run requests. All that it knows is in the database, so
any number of them may tick at the same time, and be killed at any moment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from reporthub_dagster.db.deciding import Decision, Decisions, portions
from reporthub_dagster.db.queue import ExecutionQueue, Unfinished
from reporthub_dagster.db.session import Hub
from reporthub_dagster.db.slots import KnownState, PendingSchedule, Slots
from reporthub_dagster.launching import InFlight, Launch, Launcher, TickNotes
from reporthub_dagster.planning import located
from reporthub_dagster.reporting.errors import PermanentError, ReportHubError
from reporthub_dagster.reporting.kept_window import slot_context
from reporthub_dagster.reporting.schedule import Cron
from reporthub_dagster.reporting.schedule_policy import SchedulePolicy, parse_policy
from reporthub_dagster.reporting.slots import SlotDecision, decide_slots, jitter_of, next_slot

MOST_DECIDED = 2_000
"""Schedules decided in one tick, so that it ends well within Dagster's 60 seconds."""
_MOST_FAILURES = 3


@dataclass(frozen=True, slots=True)
class TickOutcome:
    """What a tick came to.

    Attributes:
        launches: The runs to start, the one wanted first at the head.
        message: One line for people.
    """

    launches: tuple[Launch, ...]
    message: str


@dataclass(frozen=True, slots=True)
class _Plan:
    """A schedule that is in order."""

    cron: Cron
    policy: SchedulePolicy
    jitter: timedelta

    def state(self, pending: PendingSchedule, through: datetime) -> KnownState:
        schedule = pending.schedule
        due_at = next_slot(self.cron, through) + self.jitter
        return KnownState(schedule.cron_expression, schedule.timezone, through, due_at)


class Scheduler:
    """Decides slots and asks for runs.

    Args:
        hub: The shared database.
        defaults: Policy of reports that say nothing themselves.
    """

    def __init__(self, hub: Hub, defaults: SchedulePolicy) -> None:
        self._queue = ExecutionQueue(hub)
        self._slots = Slots(hub)
        self._decisions = Decisions(hub, self._queue.waiting_status)
        self._launcher = Launcher(self._queue, defaults)
        self._defaults = defaults

    def tick(self, now: datetime, in_flight: InFlight = lambda _: frozenset()) -> TickOutcome:
        """Give every due slot its fate, then ask for runs of what waits.

        Args:
            now: By the database's clock, so that schedulers on several machines agree.
            in_flight: Tells which executions have a run that waits in Dagster's own queue.

        Raises:
            ConfigurationError, TransientError: The database as a whole does not do its work; the fault of one
                schedule is in the message instead.
        """
        notes = TickNotes()
        self._slots.forget_inactive()
        self._decide(now.replace(microsecond=0), notes)
        launches = self._launcher.launches(now.replace(microsecond=0), in_flight, notes)
        return TickOutcome(launches, notes.message(self._slots.count_active(), len(launches)))

    def _decide(self, now: datetime, notes: TickNotes) -> None:
        """Every schedule that needs a look; one that fails stops no other."""
        plans, broken, new = self._sorted_out(self._slots.pending(now), now, notes)
        self._decisions.add(new)
        due = [(pending, plan) for pending, plan in plans if pending.state is not None][:MOST_DECIDED]
        unfinished = self._unfinished_of(due, now)
        decisions = [_problem_of(pending, problem, now) for pending, problem in broken]
        decisions += [
            _decision(pending, plan, unfinished.get(pending.schedule.id, ()), now) for pending, plan in due
        ]
        for portion in portions([one for one in decisions if one is not None]):
            self._write(portion, now, notes)

    def _write(self, portion: Sequence[Decision], now: datetime, notes: TickNotes) -> None:
        try:
            written = self._decisions.write(portion, now)
        except ReportHubError:
            written = self._write_singly(portion, now, notes)
        for one in portion:
            if one.schedule_id in written and one.slots and one.new.problem is None:
                notes.due += 1
                notes.skipped += [
                    f"{slot.reason}, schedule {one.schedule_id}"
                    for slot in one.slots
                    if slot.state == "skipped"
                ]

    def _write_singly(self, portion: Sequence[Decision], now: datetime, notes: TickNotes) -> set[int]:
        """Find out which of them it was that could not be written.

        Raises:
            ConfigurationError, TransientError: It is none of them, it is the database.
        """
        written: set[int] = set()
        failures = 0
        for one in portion:
            try:
                written |= self._decisions.write([one], now)
            except ReportHubError as error:
                failures = failures + 1 if not isinstance(error, PermanentError) else 0
                if failures == _MOST_FAILURES:
                    raise
                notes.problems.append(f"schedule {one.schedule_id}: {error}")
            else:
                failures = 0
        return written

    def _sorted_out(
        self, found: Iterable[PendingSchedule], now: datetime, notes: TickNotes
    ) -> tuple[list[tuple[PendingSchedule, _Plan]], list[tuple[PendingSchedule, str]], dict[int, KnownState]]:
        """The schedules in order, those with a problem, and what to remember of those never seen before."""
        plans, broken, new = [], [], {}
        for pending in found:
            schedule = pending.schedule
            try:
                plan = _plan(pending, self._defaults)
            except Exception as error:  # noqa: BLE001 - what nobody foresaw in one row stops no other row either
                problem = _problem(error)
                notes.problems.append(f"schedule {schedule.id}: {problem}")
                broken.append((pending, problem))
                if pending.state is None:
                    # Due at once: the next tick, as the one that wins the row, writes the problem down once.
                    new[schedule.id] = KnownState(schedule.cron_expression, schedule.timezone, now, now)
                continue
            plans.append((pending, plan))
            if pending.state is None:
                new[schedule.id] = plan.state(pending, now)
        return plans, broken, new

    def _unfinished_of(
        self, due: Iterable[tuple[PendingSchedule, _Plan]], now: datetime
    ) -> Mapping[int, list[Unfinished]]:
        """What is not over of the schedules whose policy asks."""
        ids = [pending.schedule.id for pending, plan in due if plan.policy.overlap != "queue"]
        found: dict[int, list[Unfinished]] = {}
        for unfinished in self._queue.unfinished(ids, now):
            found.setdefault(unfinished.schedule_id, []).append(unfinished)
        return found


def _decision(
    pending: PendingSchedule, plan: _Plan, unfinished: Sequence[Unfinished], now: datetime
) -> Decision | None:
    known = pending.state
    if known is None or _is_edited(pending) or known.problem:
        # The past of a schedule that was edited or repaired is not replayed.
        return Decision(pending, plan.state(pending, now))
    through = max(known.decided_through, now - plan.jitter)
    slots = decide_slots(plan.cron, known.decided_through, through, plan.policy, busy=bool(unfinished))
    contexts = _contexts(pending, plan.policy, slots, unfinished)
    return Decision(pending, plan.state(pending, through), slots, contexts)


def _problem_of(pending: PendingSchedule, problem: str, now: datetime) -> Decision | None:
    """Write a problem down once; None where that is done."""
    known, schedule = pending.state, pending.schedule
    if known is None or (known.problem == problem and not _is_edited(pending)):
        return None
    state = KnownState(schedule.cron_expression, schedule.timezone, now, None, problem)
    return Decision(pending, state, [SlotDecision(now, "skipped", problem)])


def _plan(pending: PendingSchedule, defaults: SchedulePolicy) -> _Plan:
    """What to do with a schedule.

    Raises:
        ConfigurationError: Its cron, its zone or its report's policy is broken; names the row.
    """
    schedule = pending.schedule
    with located("report_schedules", schedule.id):
        cron = _cron(schedule.cron_expression, schedule.timezone)
    policy = parse_policy(schedule.config_id, pending.parameters, defaults)
    return _Plan(cron, policy, jitter_of(schedule.id, policy))


@lru_cache(maxsize=10_000)
def _cron(expression: str, timezone: str) -> Cron:
    return Cron.parse(expression, timezone)


def _problem(error: Exception) -> str:
    if isinstance(error, ReportHubError):
        return str(error)
    return f"internal error, please report it: {type(error).__name__}: {error}"


def _is_edited(pending: PendingSchedule) -> bool:
    known, schedule = pending.state, pending.schedule
    return known is not None and (known.cron_expression, known.timezone) != (
        schedule.cron_expression,
        schedule.timezone,
    )


def _contexts(
    pending: PendingSchedule,
    policy: SchedulePolicy,
    decisions: Iterable[SlotDecision],
    unfinished: Iterable[Unfinished],
) -> dict[datetime, dict[str, Any]]:
    """What each launched execution is told.

    Executions that may run side by side cannot go by `last_run_at`, which moves only when a file is done:
    each is told here, once, where the one before it ends.
    """
    launched = [decision.slot for decision in decisions if decision.state == "launched"]
    if policy.overlap != "allow":
        return {slot: slot_context(slot) for slot in launched}
    ends = [one.slot for one in unfinished if one.slot is not None]
    if pending.schedule.last_run_at is not None:
        ends.append(pending.schedule.last_run_at)
    before = [max(ends, default=None), *launched]
    return {slot: slot_context(slot, follows) for slot, follows in zip(launched, before, strict=False)}
