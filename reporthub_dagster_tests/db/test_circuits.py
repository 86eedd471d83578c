"""Circuit breakers on every database: when a server is away, who may probe it, and who waits for it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from reporthub_dagster.db.circuits import Admission, Away, Circuits
from reporthub_dagster.db.claims import Claim, LostClaimError
from reporthub_dagster.db.deliveries import DeliveryLedger
from reporthub_dagster.db.executions import Executions
from reporthub_dagster.db.retries import Retries
from reporthub_dagster.db.session import Hub
from reporthub_dagster.db.watch import Watch
from reporthub_dagster.reporting.breaker_policy import BreakerPolicy
from reporthub_dagster_tests.go_api import GoApi

NOW = datetime.now(UTC)
MAIL = "smtp://mail.test:587"
POLICY = BreakerPolicy()


@pytest.fixture
def circuits(hub: Hub) -> Circuits:
    return Circuits(hub, POLICY)


def break_it(circuits: Circuits, server: str = MAIL) -> Away:
    """Three failures in a row."""
    told = [circuits.failed(Admission(server), f"no answer {n}") for n in range(3)]
    assert told[:2] == [None, None]
    assert told[2] is not None
    return told[2]


def probe_is_due(go: GoApi) -> None:
    go.execute("UPDATE reporthub_circuits SET probe_at = '2025-01-01 00:00:00'")


def seconds_until_probe(circuits: Circuits, hub: Hub) -> float:
    (away,) = circuits.away()
    return (away.probe_at - hub.now()).total_seconds()


def put_off(hub: Hub, circuits: Circuits, execution_id: str, away: Away) -> Claim:
    """An execution whose only recipient waits."""
    executions, ledger = Executions(hub), DeliveryLedger(hub)
    executions.add(execution_id, config_id=1, schedule_id=1, executed_by="ana", at=NOW)
    claim = executions.claim(execution_id, "run", after=None, from_status="running", at=NOW)
    assert claim is not None
    ledger.open(claim, 7, ["a"], unanswered="unknown")
    circuits.put_off(claim, 7, ["a"], away, "not tried")
    executions.wait(claim)
    return claim


def test_few_failures_in_a_row_and_nobody_tries_it(hub: Hub, go: GoApi, circuits: Circuits) -> None:
    assert circuits.admit(MAIL) == Admission(MAIL)
    away = break_it(circuits)
    assert (away.server, away.failures, away.problem) == (MAIL, 3, "no answer 2")
    refused = circuits.admit(MAIL)
    assert (refused.away, refused.is_probe) == (away, False)
    assert circuits.admit(MAIL, insists=True).away is None, "a person asks for it"
    assert circuits.admit("smtp://other.test:587").away is None
    assert 20 < seconds_until_probe(circuits, hub) <= 31


def test_an_answer_or_a_long_time_between_failures_begins_the_count_anew(
    hub: Hub, go: GoApi, circuits: Circuits
) -> None:
    for _ in range(2):
        circuits.failed(Admission(MAIL), "no answer")
    assert circuits.admit(MAIL).is_known
    circuits.answered(MAIL)
    assert circuits.failed(Admission(MAIL), "no answer") is None
    assert circuits.failed(Admission(MAIL), "no answer") is None
    go.execute("UPDATE reporthub_circuits SET failed_at = '2025-01-01 00:00:00'")
    assert circuits.failed(Admission(MAIL), "no answer") is None
    assert circuits.away() == []
    assert Circuits(hub, BreakerPolicy(failures=0)).admit(MAIL) == Admission(MAIL)


def test_of_many_who_ask_when_a_probe_is_due_one_may(hub: Hub, go: GoApi, circuits: Circuits) -> None:
    break_it(circuits)
    probe_is_due(go)
    with ThreadPoolExecutor(6) as pool:
        asked = list(pool.map(circuits.admit, [MAIL] * 6))
    assert sorted(one.away is None for one in asked) == [False] * 5 + [True]
    (probe,) = [one for one in asked if one.is_probe]
    circuits.failed(Admission(MAIL), "somebody who began long ago")
    assert seconds_until_probe(circuits, hub) > 100, "the probe is still under way"
    circuits.failed(probe, "still nothing")
    assert 45 < seconds_until_probe(circuits, hub) <= 61, "twice as long"
    assert circuits.away()[0].problem == "still nothing"


def test_failures_at_once_are_all_counted(hub: Hub, go: GoApi, circuits: Circuits) -> None:
    with ThreadPoolExecutor(6) as pool:
        told = list(pool.map(circuits.failed, [Admission(MAIL)] * 6, ["no answer"] * 6))
    assert sum(away is not None for away in told) == 4
    assert circuits.away()[0].failures == 6


def test_who_is_put_off_waits_for_the_probe_and_is_due_at_once_when_it_answers(
    hub: Hub, go: GoApi, circuits: Circuits
) -> None:
    away = break_it(circuits)
    retries, ledger = Retries(hub, POLICY), DeliveryLedger(hub)
    for name in ("e-1", "e-2", "e-3"):
        put_off(hub, circuits, name, away)
    entry = ledger.entries("e-1", 7)["a"]
    assert (entry.state, entry.attempts, entry.next_attempt_at) == ("retry", 0, away.probe_at)
    assert circuits.away()[0].waiting == 3
    assert retries.due(50) == []
    probe_is_due(go)
    go.execute("UPDATE reporthub_deliveries SET next_attempt_at = '2025-01-01 00:00:00'")
    assert len(retries.due(50)) == 1, "one of them is the probe"
    assert Watch(hub).retries_due() == 0, "nobody else is late"
    probe = circuits.admit(MAIL)
    assert retries.due(50) == [], "it is under way"
    circuits.failed(probe, "still nothing")
    (again,) = circuits.away()
    assert ledger.entries("e-2", 7)["a"].next_attempt_at == again.probe_at
    assert circuits.answered(MAIL) == 3
    assert len(retries.due(50)) == Watch(hub).retries_due() == 3
    assert circuits.admit(MAIL) == Admission(MAIL)


def test_who_is_put_off_just_after_the_answer_is_due(hub: Hub, go: GoApi, circuits: Circuits) -> None:
    away = break_it(circuits)
    circuits.answered(MAIL)
    put_off(hub, circuits, "e", away)
    assert [one.execution_id for one in Retries(hub, POLICY).due(50)] == ["e"]


def test_nobody_waits_for_ever(hub: Hub, go: GoApi, circuits: Circuits) -> None:
    away = break_it(circuits)
    claim = put_off(hub, circuits, "e", away)
    go.execute(
        "UPDATE reporthub_deliveries "
        "SET waits_since = '2025-01-01 00:00:00', next_attempt_at = '2025-01-01 00:00:00'"
    )
    assert [one.execution_id for one in Retries(hub, POLICY).due(50)] == ["e"]
    heir = Executions(hub).claim("e", "heir", after=claim_waiting(claim), from_status="running", at=NOW)
    assert heir is not None
    circuits.put_off(heir, 7, ["a"], away, "not tried")
    entry = DeliveryLedger(hub).entries("e", 7)["a"]
    assert (entry.state, entry.next_attempt_at) == ("refused", None)
    assert entry.detail.startswith(f"given up after 24 h: {MAIL} has been away since")


def test_who_lost_the_claim_puts_nobody_off(hub: Hub, go: GoApi, circuits: Circuits) -> None:
    away = break_it(circuits)
    claim = put_off(hub, circuits, "e", away)
    Executions(hub).claim("e", "heir", after=claim_waiting(claim), from_status="running", at=NOW)
    with pytest.raises(LostClaimError):
        circuits.put_off(claim, 7, ["a"], away, "not tried")


def claim_waiting(claim: Claim) -> Claim:
    """A claim as it is kept while its execution waits."""
    return Claim(claim.execution_id, "waiting", claim.token)
