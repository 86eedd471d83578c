"""People are told that a report fails or is late, once an hour, and that it works again, once."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from reporthub_dagster.db.circuits import Admission, Circuits
from reporthub_dagster.db.session import Hub
from reporthub_dagster.destinations.environment import DestinationSettings, MailPolicy
from reporthub_dagster.notices import tell_late
from reporthub_dagster.reaper_sensor import execution_reaper_sensor
from reporthub_dagster.reporting.breaker_policy import BreakerPolicy
from reporthub_dagster.resources import HubDatabase
from reporthub_dagster.settings import Settings
from reporthub_dagster_tests.installation import PARAMETERS, World
from reporthub_dagster_tests.servers.smtp import Mail, MailServer

OPERATOR = "ops@hub.test"


@pytest.fixture(autouse=True)
def _operator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPORTHUB_OPERATOR_EMAIL", OPERATOR)
    monkeypatch.setenv("REPORTHUB_UI_URL", "https://dagster.hub.test/")


def notices(world: World) -> list[Mail]:
    return [
        mail for mail in world.mail.mails if mail.recipient not in {"ana@finance.test", "budi@finance.test"}
    ]


def subjects(world: World) -> list[str]:
    return [mail.message["Subject"] for mail in notices(world)]


def break_query(world: World) -> Callable[[], None]:
    """Make the report fail; returns how to repair it."""
    query = world.go.row("SELECT report_query FROM report_configs")["report_query"]
    world.go.execute("UPDATE report_configs SET report_query = 'SELECT nothing FROM trx t'")
    return lambda: world.go.execute("UPDATE report_configs SET report_query = :query", query=query)


def an_hour_later(world: World) -> None:
    world.go.execute("UPDATE reporthub_notices SET told_at = '2025-01-31 00:00:00'")


def test_a_failure_is_told_once_an_hour_and_its_recovery_once(world: World) -> None:
    repair = break_query(world)
    first = world.run(config_id=1)
    world.run(config_id=1)
    (notice,) = notices(world)
    assert (notice.recipient, notice.message["Subject"]) == (OPERATOR, "Failed: Sales")
    row = world.execution(first.run_id)
    assert row["error_message"] in notice.text
    assert row["execution_context"]["time_range"]["start_datetime"] in notice.text
    assert f"https://dagster.hub.test/runs/{first.run_id}" in notice.text
    assert "change what the cause names" in notice.text
    an_hour_later(world)
    world.run(config_id=1)
    assert subjects(world) == ["Failed: Sales"] * 2
    repair()
    world.run(config_id=1)
    world.run(config_id=1)
    assert subjects(world) == ["Failed: Sales", "Failed: Sales", "Works again: Sales"]


@pytest.mark.parametrize("world", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("notify", "created_by", "told"),
    [
        (["a@x.test", "b@x.test"], "maker@x.test", ["a@x.test", "b@x.test"]),
        ("a@x.test; b@x.test", None, ["a@x.test", "b@x.test"]),
        (None, "maker@x.test", ["maker@x.test"]),
        (None, "maker", [OPERATOR]),
        ([], "maker@x.test", []),
        (7, None, [OPERATOR]),
    ],
    ids=["list", "text", "maker", "operator", "nobody", "not usable"],
)
def test_who_is_told(world: World, notify: object, created_by: str | None, told: list[str]) -> None:
    parameters = PARAMETERS if notify is None else {**PARAMETERS, "notify": notify}
    world.go.execute(
        "UPDATE report_configs SET parameters = :parameters, created_by = :person, max_rows = 0",
        parameters=json.dumps(parameters),
        person=created_by,
    )
    world.run(config_id=1)
    assert [mail.recipient for mail in notices(world)] == told


@pytest.mark.parametrize("world", ["sqlite"], indirect=True)
def test_a_delivery_that_fails_says_how_to_deliver_again(world: World) -> None:
    world.mail.script("ana@finance.test", "RCPT", "550 5.1.1 no such user")
    execution_id = world.run(config_id=1).run_id
    (notice,) = notices(world)
    assert "ana@finance.test: 550 5.1.1 no such user" in notice.text
    assert f"reporthub redeliver {execution_id}" in notice.text


@pytest.mark.parametrize("world", ["sqlite"], indirect=True)
def test_waiting_for_a_retry_is_no_failure(world: World) -> None:
    world.mail.script("ana@finance.test", "RCPT", "450 4.2.0 later")
    world.run(config_id=1)
    assert notices(world) == []


@pytest.mark.parametrize("world", ["sqlite"], indirect=True)
def test_a_mail_server_that_is_away_changes_no_outcome_and_silences_nobody(
    world: World, monkeypatch: pytest.MonkeyPatch, start_mail_server: Callable[..., MailServer]
) -> None:
    break_query(world)
    port = world.mail.port
    monkeypatch.setenv("SMTP_PORT", "1")
    row = world.execution(world.run(config_id=1).run_id)
    assert (row["status"], "nothing" in row["error_message"]) == ("failed", True)
    monkeypatch.setenv("SMTP_PORT", str(port))
    world.run(config_id=1)
    assert subjects(world) == ["Failed: Sales"]


@pytest.mark.parametrize("world", ["sqlite"], indirect=True)
def test_a_notice_that_cannot_be_sent_does_not_keep_the_recovery_from_being_told(world: World) -> None:
    repair = break_query(world)
    world.run(config_id=1)
    an_hour_later(world)
    world.mail.script(OPERATOR, "RCPT", *["450 4.2.0 later"] * 2)
    world.run(config_id=1)
    repair()
    world.run(config_id=1)
    assert subjects(world) == ["Failed: Sales"]
    world.run(config_id=1)
    assert subjects(world) == ["Failed: Sales", "Works again: Sales"]


def reap(world: World) -> None:
    """One tick of the reaper: all that runs."""
    with dg.build_sensor_context(instance=world.instance, resources={"hub": HubDatabase()}) as context:
        execution_reaper_sensor(context)


def ask(world: World, execution_id: str, minutes_ago: int, **row: Any) -> None:
    """A queued row, as another program inserts it."""
    at = f"{datetime.now(UTC) - timedelta(minutes=minutes_ago):%F %T}"
    values = {"config_id": 1, "status": "queued", "executed_by": "go", "started_at": at, **row}
    world.go.insert("report_executions", id=execution_id, **values)


def test_what_is_late_is_told_once_by_the_reaper_alone_and_its_recovery_once(world: World) -> None:
    ask(world, "go-1", 20)
    reap(world)
    assert notices(world) == [], "nothing is late yet"
    ask(world, "go-2", 45, schedule_id=1)
    ask(world, "go-3", 40)
    reap(world)
    reap(world)
    (notice,) = notices(world)
    assert (notice.recipient, notice.message["Subject"]) == (OPERATOR, "Late: Sales")
    assert "go-2" in notice.text
    assert "still queued after 45 min" in notice.text
    assert "Also late: 1 more of this report" in notice.text
    an_hour_later(world)
    reap(world)
    assert len(notices(world)) == 1, "they have been told of"
    for execution_id in ("go-2", "go-3"):
        world.run(execution_id=execution_id)
    assert subjects(world) == ["Late: Sales", "Works again: Sales"]
    reap(world)
    assert world.go.rows("SELECT * FROM reporthub_late") == []


@pytest.mark.parametrize("world", ["sqlite"], indirect=True)
def test_a_report_is_told_of_once_an_hour_whether_it_fails_or_is_late(world: World) -> None:
    break_query(world)
    world.run(config_id=1)
    ask(world, "go-1", 45)
    reap(world)
    assert subjects(world) == ["Failed: Sales"]
    an_hour_later(world)
    reap(world)
    assert subjects(world) == ["Failed: Sales", "Late: Sales"]


@pytest.mark.parametrize("world", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "context", [{"launch": {"deliver": "none"}}, {"launch": {"deliver": "all"}, "backfill": "b-1"}]
)
def test_nobody_is_told_that_a_test_or_the_past_is_late(world: World, context: dict[str, Any]) -> None:
    ask(world, "go-1", 45, execution_context=context)
    reap(world)
    assert notices(world) == []
    assert world.go.row("SELECT execution_id FROM reporthub_late") == {"execution_id": "go-1"}


@pytest.mark.parametrize("world", ["sqlite"], indirect=True)
def test_an_execution_that_was_begun_anew_is_late_by_its_new_claim(world: World) -> None:
    ask(world, "go-1", 45, status="running")
    now = f"{datetime.now(UTC):%F %T}"
    lease = {"run_id": "waiting", "token": 2, "heartbeat_at": now}
    world.go.insert("reporthub_leases", execution_id="go-1", claimed_at=now, **lease)
    reap(world)
    assert notices(world) == []
    world.go.execute("UPDATE reporthub_leases SET claimed_at = '2025-01-31 00:00:00'")
    reap(world)
    assert subjects(world) == ["Late: Sales"]


@pytest.mark.parametrize("world", ["sqlite"], indirect=True)
def test_a_late_notice_that_cannot_be_sent_is_sent_later_and_no_broken_row_is_in_its_way(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(world, "go-1", 45, schedule_id=1)
    world.go.execute("UPDATE report_schedules SET timezone = 'Nowhere/At_all'")
    port = world.mail.port
    monkeypatch.setenv("SMTP_PORT", "1")
    reap(world)
    monkeypatch.setenv("SMTP_PORT", str(port))
    reap(world)
    assert subjects(world) == ["Late: Sales"]


@pytest.mark.parametrize("world", ["sqlite"], indirect=True)
def test_why_nobody_can_be_told_names_no_row_that_there_is_not(world: World) -> None:
    ask(world, "go-1", 45)
    said: list[object] = []
    smtp = replace(world.mail.environment, from_email=None)
    settings = Settings.load()
    with closing(Hub(settings.hub_url, settings.hub_zone)) as hub:
        tell_late(hub, DestinationSettings(smtp=smtp), datetime.now(UTC), said.append)
        barred = MailPolicy(allowed_domains=("elsewhere.test",))
        tell_late(
            hub, DestinationSettings(world.mail.environment, mail=barred), datetime.now(UTC), said.append
        )
    assert "SMTP_FROM_EMAIL" in str(said)
    assert f"mail may not go to this domain (value '{OPERATOR}')" in str(said)
    assert "report_deliver" not in str(said)


@pytest.mark.parametrize("world", ["sqlite"], indirect=True)
def test_a_mail_server_that_is_away_is_not_tried_for_a_notice(world: World) -> None:
    ask(world, "go-1", 45)
    said: list[object] = []
    settings = Settings.load()
    with closing(Hub(settings.hub_url, settings.hub_zone)) as hub:
        circuits = Circuits(hub, BreakerPolicy())
        for _ in range(3):
            circuits.failed(Admission(f"smtp://{world.mail.host}:{world.mail.port}"), "no answer")
        environment = DestinationSettings(smtp=world.mail.environment)
        tell_late(hub, environment, datetime.now(UTC), said.append)
        assert notices(world) == []
        assert "a notice is not sent: smtp://" in str(said)
        circuits.answered(f"smtp://{world.mail.host}:{world.mail.port}")
        tell_late(hub, environment, datetime.now(UTC), said.append)
    assert subjects(world) == ["Late: Sales"]
