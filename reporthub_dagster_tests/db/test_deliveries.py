"""The ledger on every database: states, the fence, times by the database's clock, what is due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from reporthub_dagster.db.claims import Claim, LostClaimError
from reporthub_dagster.db.deliveries import DeliveryLedger, History
from reporthub_dagster.db.executions import Executions
from reporthub_dagster.db.leases import Leases
from reporthub_dagster.db.notices import Notices
from reporthub_dagster.db.queue import ExecutionQueue
from reporthub_dagster.db.retries import Retries
from reporthub_dagster.db.session import Hub
from reporthub_dagster.reporting.breaker_policy import BreakerPolicy
from reporthub_dagster.reporting.identity import delivery_identity
from reporthub_dagster.reporting.records import DeliveryReceipt, ReceiptState
from reporthub_dagster_tests.go_api import GoApi

NOW = datetime.now(UTC)
LONG = "x" * 480 + "@müller.example"


@pytest.fixture
def claim(hub: Hub, go: GoApi) -> Claim:
    """An execution `e` that run-1 holds."""
    executions = Executions(hub)
    executions.add("e", config_id=1, schedule_id=1, executed_by="ana", at=NOW)
    return taken(hub, None, "run-1")


def taken(hub: Hub, after: Claim | None, run_id: str) -> Claim:
    found = Executions(hub).claim("e", run_id, after=after, from_status="running", at=NOW)
    assert found is not None
    return found


def answered(ledger: DeliveryLedger, claim: Claim, recipient: str, state: ReceiptState) -> None:
    ledger.begin(claim, 7, recipient)
    ledger.answer(claim, DeliveryReceipt(7, recipient, state, f"said {state}", NOW))


def states(ledger: DeliveryLedger) -> dict[str, str]:
    return {name: entry.state for name, entry in ledger.entries("e", 7).items()}


def test_every_recipient_has_one_entry_whatever_its_length(hub: Hub, claim: Claim) -> None:
    ledger = DeliveryLedger(hub)
    recipients = [LONG, "x" * 480 + "@muller.example", "a@x", "A@x"]
    ledger.open(claim, 7, recipients, unanswered="unknown")
    ledger.open(claim, 7, [*recipients, "later@x"], unanswered="unknown")
    assert states(ledger) == dict.fromkeys([*recipients, "later@x"], "pending")


def test_the_states_of_a_recipient(hub: Hub, claim: Claim) -> None:
    ledger = DeliveryLedger(hub)
    ledger.open(claim, 7, ["a", "b", "c", "d", "e"], unanswered="unknown")
    answered(ledger, claim, "a", "sent")
    answered(ledger, claim, "b", "refused")
    answered(ledger, claim, "c", "retry")
    ledger.begin(claim, 7, "d")
    assert states(ledger) == {"a": "sent", "b": "refused", "c": "retry", "d": "sending", "e": "pending"}
    heir = taken(hub, claim, "run-2")
    entries = ledger.open(heir, 7, ["a", "b", "c", "d", "e"], unanswered="unknown")
    assert {name for name, entry in entries.items() if entry.is_due} == {"c", "e"}
    assert entries["d"].state == "unknown"
    for name in ("a", "b", "d"):
        with pytest.raises(LostClaimError):
            ledger.begin(heir, 7, name)


def test_who_lost_the_claim_begins_nothing(hub: Hub, claim: Claim) -> None:
    ledger = DeliveryLedger(hub)
    ledger.open(claim, 7, ["a"], unanswered="unknown")
    taken(hub, claim, "run-2")
    with pytest.raises(LostClaimError):
        ledger.begin(claim, 7, "a")
    with pytest.raises(LostClaimError):
        ledger.open(claim, 7, ["b"], unanswered="unknown")
    assert states(ledger) == {"a": "pending"}


def test_a_late_answer_never_covers_a_later_attempt(hub: Hub, claim: Claim) -> None:
    ledger = DeliveryLedger(hub)
    ledger.open(claim, 7, ["a"], unanswered="unknown")
    ledger.begin(claim, 7, "a")
    heir = taken(hub, claim, "run-2")
    ledger.open(heir, 7, ["a"], unanswered="pending")
    answered(ledger, heir, "a", "sent")
    ledger.answer(claim, DeliveryReceipt(7, "a", "retry", "late", NOW))
    assert states(ledger) == {"a": "sent"}


def test_a_retry_comes_interval_times_attempt_later(hub: Hub, claim: Claim) -> None:
    ledger = DeliveryLedger(hub)
    ledger.open(claim, 7, ["a", "b"], unanswered="unknown")
    answered(ledger, claim, "a", "retry")
    answered(ledger, claim, "a", "retry")
    answered(ledger, claim, "b", "retry")
    ledger.schedule(claim, 7, most=1, interval_seconds=300)
    entries = ledger.entries("e", 7)
    due = entries["b"].next_attempt_at
    assert due is not None
    assert abs(due - hub.now() - timedelta(seconds=300)) < timedelta(seconds=30)
    assert entries["a"].next_attempt_at is None, "its retries are used up"
    assert not entries["b"].is_due
    ledger.schedule(claim, 7, most=2, interval_seconds=300)
    later = ledger.entries("e", 7)["a"].next_attempt_at
    assert later is not None
    assert abs(later - hub.now() - timedelta(seconds=600)) < timedelta(seconds=30)


def test_the_other_side_is_left_alone_for_as_long_as_it_asks(hub: Hub, claim: Claim) -> None:
    ledger = DeliveryLedger(hub)
    ledger.open(claim, 7, ["a", "b"], unanswered="unknown")
    answered(ledger, claim, "a", "retry")
    answered(ledger, claim, "b", "retry")
    ledger.schedule(claim, 7, most=3, interval_seconds=300, not_before={"a": 3600, "b": 10})
    waits = {
        name: entry.next_attempt_at - hub.now()
        for name, entry in ledger.entries("e", 7).items()
        if entry.next_attempt_at is not None
    }
    assert abs(waits["a"] - timedelta(hours=1)) < timedelta(seconds=30)
    assert abs(waits["b"] - timedelta(seconds=300)) < timedelta(seconds=30)


def test_an_execution_waits_with_nobody_at_work_on_it(hub: Hub, claim: Claim, go: GoApi) -> None:
    ledger, leases, retries = DeliveryLedger(hub), Leases(hub), Retries(hub, BreakerPolicy())
    ledger.open(claim, 7, ["a"], unanswered="unknown")
    answered(ledger, claim, "a", "retry")
    ledger.schedule(claim, 7, most=3, interval_seconds=0)
    assert retries.due(50) == [], "its run has not ended"
    Executions(hub).wait(claim)
    holder = leases.holder("e")
    assert holder is not None
    assert (holder.is_nobody, holder.is_waiting, holder.silent) == (True, True, False)
    assert leases.open_executions() == [], "the reaper has nothing to do with it"
    assert ExecutionQueue(hub).unfinished([1], NOW) == [], "it holds nothing back"
    (due,) = retries.due(50)
    assert (due.execution_id, due.config_id, due.schedule_id, due.executed_by) == ("e", 1, 1, "ana")
    with pytest.raises(LostClaimError):
        Executions(hub).finish(claim, "completed", at=NOW)
    heir = taken(hub, holder.claim, "run-2")
    assert heir.token == due.token + 1
    assert retries.due(50) == []
    assert go.row("SELECT attempts FROM reporthub_leases") == {"attempts": 0}, "nobody died"


def test_those_who_wait_longest_come_first_and_few_at_a_time(hub: Hub, go: GoApi) -> None:
    moments = {"new": "2025-01-03 00:00:00", "old": "2025-01-01 00:00:00", "mid": "2025-01-02 00:00:00"}
    for name, moment in moments.items():
        go.insert("report_executions", id=name, config_id=1, status="running", executed_by="x")
        lease = {"token": 1, "claimed_at": moment, "attempts": 0}
        go.insert("reporthub_leases", execution_id=name, run_id="waiting", **lease)
        for recipient in ("a", "b"):
            identity = delivery_identity(name, 1, recipient)
            entry = {"identity": identity, "delivery_id": 1, "recipient": recipient, "state": "retry"}
            more = {"attempts": 1, "token": 1, "next_attempt_at": moment}
            go.insert("reporthub_deliveries", execution_id=name, **entry, **more)
    assert [one.execution_id for one in Retries(hub, BreakerPolicy()).due(2)] == ["old", "mid"]


def test_whoever_starts_anew_tries_everybody_who_has_not_got_it(hub: Hub, claim: Claim) -> None:
    ledger, executions = DeliveryLedger(hub), Executions(hub)
    ledger.open(claim, 7, ["a", "b", "c", "d"], unanswered="unknown")
    for name, state in (("a", "sent"), ("b", "refused"), ("c", "retry"), ("d", "unknown")):
        answered(ledger, claim, name, state)  # type: ignore[arg-type]
    executions.finish(claim, "failed", at=NOW, error="b: said refused")
    heir = executions.claim("e", "run-2", after=claim, from_status="failed", at=NOW)
    assert heir is not None
    assert states(ledger) == {"a": "sent", "b": "pending", "c": "pending", "d": "unknown"}


def test_a_branch_that_fails_leaves_the_retry_of_another(hub: Hub, claim: Claim) -> None:
    ledger, executions = DeliveryLedger(hub), Executions(hub)
    ledger.open(claim, 7, ["a"], unanswered="unknown")
    answered(ledger, claim, "a", "retry")
    ledger.schedule(claim, 7, most=3, interval_seconds=300)
    executions.finish(claim, "failed", at=NOW, error="no bucket", is_branch=True)
    found = executions.find("e")
    assert found is not None
    assert (found.status, found.error_message, found.completed_at) == ("running", "no bucket", None)
    executions.finish(claim, "failed", at=NOW, error="no folder")
    found = executions.find("e")
    assert found is not None
    assert (found.status, found.error_message) == ("failed", "no bucket; no folder")


def test_what_an_earlier_release_sent_is_not_sent_again(hub: Hub, claim: Claim) -> None:
    ledger = DeliveryLedger(hub)
    history = History(frozenset({"a"}), frozenset({"b"}))
    ledger.open(claim, 7, ["a", "b", "c"], unanswered="unknown", history=lambda: history)
    assert states(ledger) == {"a": "sent", "b": "unknown", "c": "pending"}


def test_a_database_of_an_earlier_release_gets_the_table(hub: Hub) -> None:
    with hub.begin() as connection:
        for table in ("reporthub_deliveries", "reporthub_notices", "reporthub_digests"):
            connection.exec_driver_sql(f"DROP TABLE {table}")
    assert set(hub.create_missing_tables()) == {
        "reporthub_deliveries",
        "reporthub_notices",
        "reporthub_digests",
    }


def test_of_many_who_want_to_tell_the_same_one_may(hub: Hub, go: GoApi) -> None:
    first, second = Notices(hub), Notices(hub)
    assert not first.may_tell_recovery(1)
    assert [first.may_tell_trouble(1), second.may_tell_trouble(1), first.may_tell_trouble(2)] == [
        True,
        False,
        True,
    ]
    assert not first.may_tell_recovery(1), "nobody has got it yet"
    first.recovery_is_due(1)
    assert [first.may_tell_recovery(1), second.may_tell_recovery(1)] == [True, False]
    assert not first.may_tell_trouble(1), "the hour is not over"
    go.execute("UPDATE reporthub_notices SET told_at = '2025-01-31 00:00:00'")
    assert first.may_tell_trouble(1)
    first.not_told(1)
    assert second.may_tell_trouble(1)
