"""A thousand histories of a schedule: its windows follow each other, whatever happens and whoever asks.

The schedule's row is a variable here; `db/test_contiguous_windows.py` has fewer histories on a real one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from reporthub_dagster.reporting.records import TimeWindow
from reporthub_dagster.reporting.schedule import Cron
from reporthub_dagster.reporting.schedule_policy import SchedulePolicy
from reporthub_dagster.reporting.slots import decide_slots
from reporthub_dagster.reporting.time_window import NothingLeftError, decide_window
from reporthub_dagster_tests.reporting.builders import schedule, utc

ZONE = "Europe/Berlin"
BEFORE_THE_CHANGE = utc("2025-03-29 20:00")
HAPPENINGS = ("success", "failure", "retry", "late", "manual", "manual failure")


@dataclass
class History:
    """What a schedule's row, its queue and its people hold."""

    cron: Cron
    now: datetime = BEFORE_THE_CHANGE
    through: datetime = BEFORE_THE_CHANGE
    last_run_at: datetime | None = None
    queue: list[datetime] = field(default_factory=list)
    failed: list[TimeWindow] = field(default_factory=list)

    def tick(self, minutes: int, policy: SchedulePolicy) -> None:
        self.now += timedelta(minutes=minutes)
        decided = decide_slots(self.cron, self.through, self.now, policy, busy=bool(self.queue))
        self.queue += [one.slot for one in decided if one.state == "launched"]
        self.through = self.now

    def run(self, slot: datetime | None, *, fails: bool) -> None:
        row = schedule(self.cron.expression, ZONE, self.last_run_at)
        try:
            window = decide_window(now=self.now, slot=slot, schedule=row)
        except NothingLeftError:
            # The rows of a slot are left out only where they have gone out.
            assert self.last_run_at is not None
            assert (slot or self.now) <= self.last_run_at
            return
        assert window.start < window.end == (slot or self.now)
        assert self.last_run_at in {None, window.start}, "a gap or an overlap"
        if fails:
            self.failed.append(window)
        else:
            self.last_run_at = window.end

    def retry(self) -> None:
        """The window of the first attempt again: it repeats at most itself and skips nothing."""
        window = self.failed.pop()
        is_first = window.method == "cron_detection"
        if is_first and self.last_run_at is not None and self.last_run_at < window.start:
            return  # as `Executions.files_done`: it knew of no other window
        assert self.last_run_at is None or window.start <= self.last_run_at, "a gap"
        self.last_run_at = max(self.last_run_at or window.end, window.end)


@settings(max_examples=1_000, deadline=None)
@given(
    steps=st.lists(st.tuples(st.integers(0, 200), st.sampled_from(HAPPENINGS)), min_size=1, max_size=12),
    cron=st.sampled_from(["0 * * * *", "30 2 * * *", "*/20 * * * *"]),
    policy=st.builds(
        SchedulePolicy,
        catch_up=st.sampled_from(["latest", "all", "skip"]),
        overlap=st.sampled_from(["queue", "skip"]),
        misfire_grace_minutes=st.sampled_from([0, 30]),
    ),
)
def test_windows_follow_each_other_through_any_history(
    steps: list[tuple[int, str]], cron: str, policy: SchedulePolicy
) -> None:
    history = History(Cron.parse(cron, ZONE))
    for minutes, happening in steps:
        history.tick(minutes, policy)
        if happening == "retry" and history.failed:
            history.retry()
        if happening.startswith("manual"):
            history.run(None, fails="failure" in happening)
        while history.queue and happening != "late":
            history.run(history.queue.pop(0), fails=happening == "failure")
