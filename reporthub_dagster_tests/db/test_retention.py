"""What is old goes, a piece at a time; what anybody still needs stays."""

from __future__ import annotations

from datetime import timedelta

import pytest

from reporthub_dagster.db import retention
from reporthub_dagster.db.retention import Retention
from reporthub_dagster.db.session import Hub
from reporthub_dagster_tests.db.scheduler_world import Days
from reporthub_dagster_tests.go_api import GoApi

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
KEEP = timedelta(days=400)
LATER = KEEP + 2 * DAY


@pytest.fixture
def days(hub: Hub, go: GoApi) -> Days:
    """A slot that is done, one whose execution is still open, both with a lease and a request."""
    days = Days(hub, go)
    days.schedule(1, overlap="allow")
    days.tick()
    days.run(days.tick(HOUR, in_flight=set).launches[0].execution_id)
    days.begin(days.tick(HOUR, in_flight=set).launches[0].execution_id)
    go.execute("UPDATE reporthub_leases SET heartbeat_at = '2025-01-31 10:00:00.000'")
    return days


def counts(days: Days) -> tuple[int, ...]:
    tables = ("slots", "leases", "launches")
    return tuple(days.go.row(f"SELECT count(*) AS n FROM reporthub_{table}")["n"] for table in tables)


def test_nothing_goes_before_its_time(days: Days) -> None:
    assert Retention(days.hub, KEEP).forget(days.now + KEEP - 3 * HOUR) == 1
    assert counts(days) == (2, 2, 1)


def test_what_is_old_goes_and_what_an_open_execution_has_stays(days: Days) -> None:
    assert Retention(days.hub, KEEP).forget(days.now + LATER) == 3
    assert counts(days) == (1, 1, 1)
    assert days.fates() == [("10:00", "launched")]
    assert Retention(days.hub, KEEP).forget(days.now + LATER) == 0


def test_a_slot_that_is_forgotten_never_comes_again(days: Days) -> None:
    Retention(days.hub, KEEP).forget(days.now + LATER)
    assert days.tick().launches == ()
    assert days.fates() == [("10:00", "launched")]
    (launch,) = days.tick(HOUR, in_flight=set).launches
    assert len(days.executions()) == 2
    assert launch.attempt == 1


def test_it_goes_in_pieces(days: Days, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "MOST_FORGOTTEN", 2)
    for _ in range(4):
        days.run(days.tick(HOUR, in_flight=set).launches[0].execution_id)
    pieces = [Retention(days.hub, KEEP).forget(days.now + LATER) for _ in range(4)]
    assert [min(piece, 1) for piece in pieces] == [1, 1, 1, 0]
    assert max(pieces) <= 6


def test_schedulers_and_servers_that_are_gone_are_forgotten_after_a_day(days: Days) -> None:
    circuit = {"failures": 3, "probes": 9}
    for server, at in (("smtp://gone:25", days.now - 2 * DAY), ("smtp://here:25", days.now)):
        moment = f"{at:%F %T}.000"
        days.go.insert("reporthub_circuits", server=server, since=moment, failed_at=moment, **circuit)
    insert = "INSERT INTO reporthub_schedulers (scheduler, sensor, ticked_at) VALUES (:name, 's', :at)"
    days.go.execute(insert, name="gone", at=f"{days.now - 2 * DAY:%F %T}.000")
    days.go.execute(insert, name="here", at=f"{days.now:%F %T}.000")
    Retention(days.hub, KEEP).forget(days.now)
    assert days.go.rows("SELECT scheduler FROM reporthub_schedulers") == [{"scheduler": "here"}]
    assert days.go.rows("SELECT server FROM reporthub_circuits") == [{"server": "smtp://here:25"}]
