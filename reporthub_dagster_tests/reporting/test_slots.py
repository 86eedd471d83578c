"""Every due slot gets one fate, whatever the policy, the zone and the length of the downtime."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reporthub_dagster.reporting.schedule import Cron
from reporthub_dagster.reporting.schedule_policy import SchedulePolicy
from reporthub_dagster.reporting.slots import (
    MOST_LAUNCHED,
    MOST_SLOTS,
    SlotDecision,
    decide_slots,
    jitter_of,
    scheduled_execution_id,
)
from reporthub_dagster_tests.reporting.builders import instants, utc, wall

HOURLY = Cron.parse("0 * * * *", "UTC")
MINUTELY = Cron.parse("* * * * *", "UTC")
BERLIN, NEW_YORK = "Europe/Berlin", "America/New_York"

policies = st.builds(
    SchedulePolicy,
    catch_up=st.sampled_from(["latest", "all", "skip"]),
    overlap=st.sampled_from(["queue", "skip", "allow"]),
    misfire_grace_minutes=st.integers(0, 300),
    not_before=st.sampled_from([None, "06:00", "2025-03-30"]),
    not_after=st.sampled_from([None, "20:00", "2025-10-26"]),
)
crons = st.builds(
    Cron.parse,
    st.sampled_from(["0 * * * *", "*/15 * * * *", "30 2 * * *", "0 8 * * 1-5", "59 1-3 * * *"]),
    st.sampled_from(["UTC", BERLIN, NEW_YORK, "Australia/Lord_Howe", "Asia/Jakarta"]),
)


def naive_slots(cron: Cron, after: datetime, until: datetime) -> list[datetime]:
    slot, found = cron.next_after(after), []
    while slot <= until:
        found.append(slot)
        slot = cron.next_after(slot)
    return found


def states(decisions: tuple[SlotDecision, ...]) -> dict[str, str]:
    return {f"{decision.slot:%H:%M}": decision.state for decision in decisions}


@given(
    cron=crons,
    policy=policies,
    after=instants("2025-03-01", "2025-11-30"),
    hours=st.integers(0, 120),
    busy=st.booleans(),
)
def test_every_due_slot_is_decided_once_in_order_and_none_of_the_future(
    cron: Cron, policy: SchedulePolicy, after: datetime, hours: int, busy: bool
) -> None:
    now = after + timedelta(hours=hours)

    decisions = decide_slots(cron, after, now, policy, busy=busy)

    assert [decision.slot for decision in decisions] == naive_slots(cron, after, now)
    assert all((decision.state == "launched") == (decision.reason is None) for decision in decisions)
    launched = sum(decision.state == "launched" for decision in decisions)
    assert launched <= (MOST_LAUNCHED if policy.catch_up == "all" else 1)


@given(cron=crons, after=instants("2025-03-01", "2025-11-30"), cuts=st.lists(st.integers(0, 200), max_size=8))
def test_ticks_that_follow_each_other_decide_what_one_tick_would(
    cron: Cron, after: datetime, cuts: list[int]
) -> None:
    moments = [after, *(after + timedelta(minutes=17 * cut) for cut in sorted(cuts))]
    policy = SchedulePolicy(catch_up="all")

    found = [
        decision.slot
        for start, end in pairwise(moments)
        for decision in decide_slots(cron, start, end, policy)
    ]

    assert found == naive_slots(cron, after, moments[-1])


def test_of_three_hours_of_downtime_latest_runs_the_last_slot() -> None:
    decisions = decide_slots(HOURLY, utc("2025-01-31 08:30"), utc("2025-01-31 11:30"), SchedulePolicy())
    assert states(decisions) == {"09:00": "coalesced", "10:00": "coalesced", "11:00": "launched"}
    assert decisions[0].reason == "into the slot of 2025-01-31 11:00 UTC"


def test_all_runs_each_of_them() -> None:
    policy = SchedulePolicy(catch_up="all")
    decisions = decide_slots(HOURLY, utc("2025-01-31 08:30"), utc("2025-01-31 11:30"), policy)
    assert set(states(decisions).values()) == {"launched"}


@pytest.mark.parametrize(("minute", "state"), [("11:40", "launched"), ("11:41", "skipped")])
def test_skip_runs_the_last_one_unless_it_is_older_than_the_grace(minute: str, state: str) -> None:
    policy = SchedulePolicy(catch_up="skip", misfire_grace_minutes=40)
    decisions = decide_slots(HOURLY, utc("2025-01-31 08:30"), utc("2025-01-31 11:30"), policy)
    assert states(decisions) == {"09:00": "skipped", "10:00": "skipped", "11:00": "launched"}
    late = decide_slots(HOURLY, utc("2025-01-31 10:30"), utc(f"2025-01-31 {minute}"), policy)
    assert states(late) == {"11:00": state}


def test_all_launches_a_hundred_at_most_and_the_first_of_them_reaches_back() -> None:
    policy = SchedulePolicy(catch_up="all")
    decisions = decide_slots(MINUTELY, utc("2025-01-31 08:00"), utc("2025-01-31 11:00"), policy)
    assert Counter(decision.state for decision in decisions) == {"launched": 100, "coalesced": 80}
    assert {decision.reason for decision in decisions[:80]} == {"into the slot of 2025-01-31 09:21 UTC"}


def test_years_of_downtime_of_a_minutely_cron_are_bounded_work() -> None:
    decisions = decide_slots(MINUTELY, utc("2015-01-31 08:00"), utc("2025-01-31 08:00"), SchedulePolicy())
    oldest, *named = decisions
    assert len(named) == MOST_SLOTS
    assert named[-1] == SlotDecision(utc("2025-01-31 08:00"), "launched")
    assert (oldest.slot, oldest.state) == (utc("2015-01-31 08:01"), "coalesced")
    assert oldest.reason is not None
    assert oldest.reason.startswith("missed: this and every slot before 2025-01-30 23:41 UTC")


def test_a_long_downtime_of_a_rare_cron_leaves_no_slot_out() -> None:
    monthly = Cron.parse("0 8 1 * *", BERLIN)
    decisions = decide_slots(monthly, utc("2015-01-15"), utc("2025-01-15"), SchedulePolicy(catch_up="all"))
    assert len(decisions) == 120
    assert Counter(decision.state for decision in decisions) == {"launched": 100, "coalesced": 20}


def test_overlap_skip_leaves_slots_out_while_an_execution_is_not_over() -> None:
    policy = SchedulePolicy(overlap="skip")
    interval = (utc("2025-01-31 08:30"), utc("2025-01-31 09:30"))
    (busy,) = decide_slots(HOURLY, *interval, policy, busy=True)
    assert (busy.state, busy.reason) == ("skipped", "overlap: an earlier execution is not over")
    assert states(decide_slots(HOURLY, *interval, policy)) == {"09:00": "launched"}


def test_overlap_skip_never_launches_two_at_once() -> None:
    policy = SchedulePolicy(overlap="skip", catch_up="all")
    decisions = decide_slots(HOURLY, utc("2025-01-31 08:30"), utc("2025-01-31 11:30"), policy)
    assert states(decisions) == {"09:00": "coalesced", "10:00": "coalesced", "11:00": "launched"}


def test_a_slot_outside_its_hours_does_not_keep_an_earlier_one_from_running() -> None:
    policy = SchedulePolicy.model_validate({"not_after": "10:00"})
    decisions = decide_slots(HOURLY, utc("2025-01-31 08:30"), utc("2025-01-31 11:30"), policy)
    assert states(decisions) == {"09:00": "coalesced", "10:00": "launched", "11:00": "skipped"}


@pytest.mark.parametrize(
    ("zone", "day"),
    [(BERLIN, "2025-03-30"), (BERLIN, "2025-10-26"), (NEW_YORK, "2025-03-09"), (NEW_YORK, "2025-11-02")],
)
@pytest.mark.parametrize("expression", ["30 2 * * *", "30 1 * * *", "0 3 * * *"])
def test_a_daily_slot_fires_once_on_the_day_the_clock_changes(zone: str, day: str, expression: str) -> None:
    start = wall(f"{day} 00:00", zone)
    cron, policy = Cron.parse(expression, zone), SchedulePolicy()
    fired: list[SlotDecision] = []
    for minute in range(0, 20 * 60, 5):  # a tick every five minutes
        tick = start + timedelta(minutes=minute)
        fired += decide_slots(cron, tick, tick + timedelta(minutes=5), policy)
    assert [decision.state for decision in fired] == ["launched"]


def test_the_id_of_a_slots_execution_never_changes() -> None:
    assert scheduled_execution_id(7, utc("2025-01-31 08:00")) == "1a429834-cdd9-5e80-8628-ddde27b735e8"


def test_jitter_is_bounded_and_constant_for_a_schedule() -> None:
    policy = SchedulePolicy(jitter_seconds=60)
    found = [jitter_of(schedule, policy).total_seconds() for schedule in range(1000)]
    assert found == [jitter_of(schedule, policy).total_seconds() for schedule in range(1000)]
    assert (min(found), max(found)) == (0, 60)
    assert jitter_of(1, SchedulePolicy()) == timedelta(0)
