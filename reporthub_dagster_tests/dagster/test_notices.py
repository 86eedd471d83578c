"""People are told that a report fails, once an hour, and that it works again, once."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

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
