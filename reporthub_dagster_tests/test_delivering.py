from __future__ import annotations

import socket
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest

from reporthub_dagster.db.circuits import Admission
from reporthub_dagster.db.claims import Claim, LostClaimError
from reporthub_dagster.db.deliveries import DeliveryLedger
from reporthub_dagster.delivery_task import DeliveryTask
from reporthub_dagster.mailing import destination_settings
from reporthub_dagster.reporting.errors import ConfigurationError, PermanentError, TransientError
from reporthub_dagster.reporting.records import DeliveryReceipt
from reporthub_dagster.settings import Settings
from reporthub_dagster_tests.installation import World
from reporthub_dagster_tests.prepared import NOW, Prepared, mail_to
from reporthub_dagster_tests.servers.smtp import DROP

pytestmark = pytest.mark.parametrize("world", ["sqlite"], indirect=True)


def test_a_run_that_is_taken_over_sends_nothing_more(world: World) -> None:
    attempt = Prepared(world.home)
    say = lambda _: attempt.take_over(attempt.claim, "run-2")  # noqa: E731
    with pytest.raises(LostClaimError):
        attempt.deliverer(attempt.claim, say).deliver(DeliveryTask(1))
    attempt.hub.close()
    assert [mail.recipient for mail in world.mail.mails] == ["ana@finance.test"]


def test_the_heir_knows_who_has_it(world: World) -> None:
    attempt = Prepared(world.home)
    heirs: list[Claim] = []
    say = lambda _: heirs.append(attempt.take_over(attempt.claim, "run-2"))  # noqa: E731
    with pytest.raises(LostClaimError):
        attempt.deliverer(attempt.claim, say).deliver(DeliveryTask(1))
    outcome = attempt.deliverer(heirs[0]).deliver(DeliveryTask(1))
    attempt.hub.close()
    assert outcome.already == ("ana@finance.test",)
    assert [mail.recipient for mail in world.mail.mails] == ["ana@finance.test", "budi@finance.test"]
    first, second = world.go.rows("SELECT * FROM report_delivery_logs ORDER BY id")
    assert (first["status"], first["error_message"]) == ("failed", "cut short before everybody was tried")
    assert (second["status"], second["retry_count"]) == ("success", 1)


def test_an_interrupt_between_two_recipients_loses_no_receipt(world: World) -> None:
    attempt = Prepared(world.home)

    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attempt.deliverer(attempt.claim, interrupt).deliver(DeliveryTask(1))
    states = {name: entry.state for name, entry in attempt.ledger.entries("e", 1).items()}
    attempt.hub.close()
    assert states == {"ana@finance.test": "sent", "budi@finance.test": "pending"}
    (log,) = world.go.rows("SELECT * FROM report_delivery_logs")
    assert (log["status"], log["success_count"], log["error_message"]) == (
        "failed",
        1,
        "cut short before everybody was tried",
    )


def test_cut_short_after_everybody_got_it_the_log_says_so(world: World) -> None:
    attempt = Prepared(world.home)
    for ledger in (FullLedger(attempt.hub), DeadLedger(attempt.hub)):
        with pytest.raises(SystemExit):
            replace(attempt.deliverer(attempt.claim), ledger=ledger).deliver(DeliveryTask(1))
        attempt.deliverer(attempt.claim).deliver(DeliveryTask(1))
        (log,) = world.go.rows("SELECT * FROM report_delivery_logs")
        assert (log["status"], log["success_count"], log["error_message"]) == ("success", 2, None)
        for table in ("report_delivery_logs", "reporthub_deliveries"):
            world.go.execute(f"DELETE FROM {table}")
    attempt.hub.close()


class FullLedger(DeliveryLedger):
    """The run ends where it would plan what comes next."""

    def schedule(self, *_: object, **__: object) -> NoReturn:
        raise SystemExit


class DeadLedger(FullLedger):
    """The process dies there: nothing after that is written."""

    def settle(self, claim: Claim, delivery_id: int) -> None:
        raise TransientError("dead")


def test_who_may_have_it_when_a_run_dies_is_never_sent_to_again(world: World) -> None:
    attempt = Prepared(world.home)
    with pytest.raises(SystemExit):
        # Dies after the first message has gone and before anything is known of it.
        replace(attempt.deliverer(attempt.claim), ledger=DyingLedger(attempt.hub)).deliver(DeliveryTask(1))
    assert [mail.recipient for mail in world.mail.mails] == ["ana@finance.test"]
    heir = attempt.deliverer(attempt.claim).deliver(DeliveryTask(1))
    receipts = {receipt["recipient"]: receipt["state"] for receipt in attempt.ledger.receipts("e")}
    attempt.hub.close()
    assert "ana@finance.test: an earlier attempt may have sent it" in str(heir.failure())
    assert len(world.mail.to("ana@finance.test")) == 1
    assert receipts == {"ana@finance.test": "unknown", "budi@finance.test": "sent"}
    dead, second = world.go.rows("SELECT * FROM report_delivery_logs ORDER BY id")
    assert (dead["status"], dead["error_message"]) == ("failed", "cut short before everybody was tried")
    assert [entry["state"] for entry in dead["delivery_details"]["recipients"]] == ["unknown"]
    assert (second["status"], second["recipient_count"]) == ("success", 1)


class DyingLedger(DeliveryLedger):
    """The process dies where it would write the first answer; nothing after that is written."""

    def answer(self, claim: Claim, receipt: DeliveryReceipt) -> None:
        raise SystemExit

    def settle(self, claim: Claim, delivery_id: int) -> None:
        raise TransientError("dead")


def test_a_late_answer_is_still_the_truth(world: World) -> None:
    attempt = Prepared(world.home)
    recipients = ["ana@finance.test"]
    attempt.ledger.open(attempt.claim, 1, recipients, unanswered="unknown")
    attempt.ledger.begin(attempt.claim, 1, recipients[0])
    heir = attempt.take_over(attempt.claim, "run-2")
    taken = attempt.ledger.open(heir, 1, recipients, unanswered="unknown")
    assert taken[recipients[0]].state == "unknown"
    attempt.ledger.answer(attempt.claim, DeliveryReceipt(1, recipients[0], "sent", "250 OK", NOW))
    assert attempt.ledger.entries("e", 1)[recipients[0]].state == "sent"
    with pytest.raises(LostClaimError):
        attempt.ledger.begin(attempt.claim, 1, recipients[0])
    attempt.hub.close()


def test_an_upgrade_in_mid_delivery_sends_to_nobody_twice(world: World) -> None:
    attempt = Prepared(world.home)
    states = {"ana@finance.test": "sent", "budi@finance.test": "sending"}
    details = [{"recipient": name, "state": state, "detail": ""} for name, state in states.items()]
    log = {"execution_id": "e", "delivery_id": 1, "status": "pending"}
    world.go.insert("report_delivery_logs", **log, delivery_details={"recipients": details})
    outcome = attempt.deliverer(attempt.claim).deliver(DeliveryTask(1))
    attempt.hub.close()
    assert world.mail.mails == []
    assert outcome.already == ("ana@finance.test",)
    assert "budi@finance.test: an earlier attempt may have sent it" in str(outcome.failure())


def test_nothing_is_sent_that_cannot_be_noted_first(world: World) -> None:
    attempt = Prepared(world.home)
    world.go.execute(
        "CREATE TRIGGER broken BEFORE UPDATE ON reporthub_deliveries "
        "BEGIN SELECT RAISE(ABORT, 'disk full'); END"
    )
    with pytest.raises((TransientError, PermanentError)):
        attempt.deliverer(attempt.claim).deliver(DeliveryTask(1))
    attempt.hub.close()
    assert world.mail.mails == []


@pytest.mark.parametrize("column", ["max_retry", "retry_interval_minutes"])
def test_a_number_that_no_delivery_can_have_is_named(world: World, column: str) -> None:
    world.go.execute(f"UPDATE report_deliveries SET {column} = -1 WHERE id = 1")
    attempt = Prepared(world.home)
    with pytest.raises(ConfigurationError, match=f"report_deliveries 1, column {column}"):
        attempt.deliverer(attempt.claim).deliver(DeliveryTask(1))
    attempt.hub.close()
    (log,) = world.go.rows("SELECT * FROM report_delivery_logs")
    assert log["status"] == "failed"
    assert column in log["error_message"]


def test_an_answer_that_was_lost_is_never_sent_again(world: World) -> None:
    attempt = Prepared(world.home)
    world.mail.script("ana@finance.test", "ANSWER", DROP)
    outcome = attempt.deliverer(attempt.claim).deliver(DeliveryTask(1))
    assert {receipt.recipient: receipt.state for receipt in outcome.receipts}["ana@finance.test"] == "unknown"
    again = attempt.deliverer(attempt.claim).deliver(DeliveryTask(1))
    attempt.hub.close()
    assert again.already == ("budi@finance.test",)
    assert "ask the recipient" in str(again.failure())
    assert len(world.mail.to("ana@finance.test")) == 1


def test_a_server_that_is_away_for_a_moment_costs_a_moment(world: World) -> None:
    attempt = Prepared(world.home)
    for name in ("ana@finance.test", "budi@finance.test"):
        world.mail.script(name, "RCPT", "450 4.2.0 later")
    pauses: list[float] = []
    outcome = replace(attempt.deliverer(attempt.claim), pause=pauses.append).deliver(DeliveryTask(1))
    attempts = {entry.attempts for entry in attempt.ledger.entries("e", 1).values()}
    attempt.hub.close()
    assert (len(pauses), outcome.failure(), attempts) == (1, None, {1})
    (log,) = world.go.rows("SELECT * FROM report_delivery_logs")
    assert (log["status"], log["success_count"]) == ("success", 2)


def test_who_is_deferred_while_others_get_it_waits_as_the_row_says(world: World) -> None:
    attempt = Prepared(world.home)
    world.mail.script("ana@finance.test", "RCPT", "450 4.2.0 later")
    outcome = attempt.deliverer(attempt.claim).deliver(DeliveryTask(1))
    entry = attempt.ledger.entries("e", 1)["ana@finance.test"]
    again = attempt.deliverer(attempt.claim).deliver(DeliveryTask(1))
    attempt.hub.close()
    assert (outcome.failure(), again.failure()) == (None, None)
    assert outcome.waiting == again.waiting == {"ana@finance.test"}
    assert entry.next_attempt_at is not None
    assert entry.at is not None
    assert round((entry.next_attempt_at - entry.at).total_seconds() / 60) == 5
    assert [mail.recipient for mail in world.mail.mails] == ["budi@finance.test"]


def test_a_row_without_retries_fails_at_once(world: World) -> None:
    world.go.execute("UPDATE report_deliveries SET max_retry = 0")
    attempt = Prepared(world.home)
    world.mail.script("ana@finance.test", "RCPT", *["450 4.2.0 later"] * 9)
    outcome = attempt.deliverer(attempt.claim).deliver(DeliveryTask(1))
    attempt.hub.close()
    failure = outcome.failure()
    assert type(failure) is PermanentError
    assert str(failure) == "email delivery 1 (Finance): ana@finance.test: " + outcome.receipts[0].detail


def test_the_templates_of_a_delivery_know_the_report(world: World) -> None:
    world.go.execute(
        "UPDATE report_deliveries SET delivery_config = :config WHERE id = 1",
        config='{"subject": "{report_name} {row_count} {file_name} {start_date}", '
        '"body": "{{execution_id}} {{ext}}"}',
    )
    attempt = Prepared(world.home)
    attempt.deliverer(attempt.claim).deliver(DeliveryTask(1))
    attempt.hub.close()
    message = world.mail.mails[0].message
    assert message["Subject"].startswith(f"Sales 3 {Path(attempt.files[0].path).name} ")
    assert message.get_body(("plain",)).get_content().split() == ["e", "csv"]  # type: ignore[union-attr]


def away(attempt: Prepared, server: str, failures: int = 3) -> None:
    """A mail server that did not answer lately."""
    for _ in range(failures):
        attempt.circuits.failed(Admission(server), "no answer")


def mail_server(world: World) -> str:
    return f"smtp://{world.mail.host}:{world.mail.port}"


def test_a_server_that_does_not_answer_is_tried_by_few_and_then_by_nobody(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("SMTP_PORT", str(silent.getsockname()[1]))
        attempt = Prepared(world.home)
        settings = replace(attempt.settings, timeout_seconds=0.3)
        deliverer = replace(attempt.deliverer(attempt.claim), settings=settings)
        outcomes = []
        for _ in range(5):
            attempt.ledger.reopen(attempt.claim, delivery_id=None, recipient=None, include_unknown=False)
            outcomes.append(deliverer.deliver(DeliveryTask(1)))
        silent.settimeout(0)
        greeted = 0
        with suppress(BlockingIOError):
            while True:
                silent.accept()[0].close()
                greeted += 1
    entries = attempt.ledger.entries("e", 1).values()
    attempt.hub.close()
    assert greeted == 6, "three attempts, each with a second try after a moment; none for the last two"
    assert [outcome.failure() for outcome in outcomes] == [None] * 5
    assert {(entry.state, entry.attempts) for entry in entries} == {("retry", 0)}


def test_who_is_put_off_is_told_so_counts_no_attempt_and_goes_first_as_a_probe(world: World) -> None:
    world.go.execute("UPDATE report_deliveries SET max_retry = 0")
    attempt = Prepared(world.home)
    away(attempt, mail_server(world))
    said: list[str] = []
    outcome = attempt.deliverer(attempt.claim, said.append).deliver(DeliveryTask(1))
    assert world.mail.mails == []
    assert outcome.waiting == {"ana@finance.test", "budi@finance.test"}
    assert outcome.failure() is None
    (log,) = world.go.rows("SELECT * FROM report_delivery_logs")
    assert (log["status"], log["recipient_count"], log["success_count"]) == ("retry", 2, 0)
    assert f"not tried: {mail_server(world)} has been away since" in log["error_message"]
    assert "2 recipients are put off: not tried" in said[0]
    world.go.execute("UPDATE reporthub_circuits SET probe_at = '2025-01-01 00:00:00'")
    world.go.execute("UPDATE reporthub_deliveries SET next_attempt_at = '2025-01-01 00:00:00'")
    attempt.deliverer(attempt.claim, said.append).deliver(DeliveryTask(1))
    entries = attempt.ledger.entries("e", 1).values()
    attempt.hub.close()
    assert {(entry.state, entry.attempts) for entry in entries} == {("sent", 1)}
    logs = world.go.rows("SELECT status, retry_count FROM report_delivery_logs ORDER BY id")
    assert [tuple(log.values()) for log in logs] == [("retry", 0), ("success", 0)]
    assert len(world.mail.mails) == 2
    assert f"{mail_server(world)} answers again" in "".join(said)
    assert world.go.rows("SELECT * FROM reporthub_circuits") == []


def test_a_recipient_whose_row_is_wrong_proves_nothing_of_the_server(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMTP_PORT", "1")
    mail_to(world, ["not an address", "ana@finance.test", "nor@this one"])
    attempt = Prepared(world.home)
    away(attempt, f"smtp://{world.mail.host}:1")
    attempt.deliverer(attempt.claim).deliver(DeliveryTask(1, insists=True))
    (found,) = attempt.circuits.away()
    attempt.hub.close()
    assert found.failures == 4
    assert world.ledger() == {
        "not an address": "refused",
        "ana@finance.test": "retry",
        "nor@this one": "refused",
    }


def test_a_row_that_names_another_server_lets_nobody_wait_for_the_old_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = world.mail.port
    monkeypatch.setenv("SMTP_PORT", "1")
    attempt = Prepared(world.home)
    away(attempt, f"smtp://{world.mail.host}:1")
    attempt.deliverer(attempt.claim).deliver(DeliveryTask(1))
    world.go.execute(
        "UPDATE reporthub_deliveries SET next_attempt_at = '2025-01-01 00:00:00' WHERE recipient LIKE 'ana%'"
    )
    assert attempt.circuits.away()[0].waiting == 1
    monkeypatch.setenv("SMTP_PORT", str(port))
    mended = replace(attempt.deliverer(attempt.claim), settings=destination_settings(Settings.load()))
    assert mended.deliver(DeliveryTask(1)).waiting == {"budi@finance.test"}
    assert attempt.circuits.away()[0].waiting == 0
    assert mended.deliver(DeliveryTask(1)).failure() is None
    attempt.hub.close()
    assert set(world.ledger().values()) == {"sent"}


def test_who_tries_a_report_is_not_put_off(world: World) -> None:
    attempt = Prepared(world.home)
    away(attempt, mail_server(world))
    trial = replace(attempt.deliverer(attempt.claim), plan=replace(attempt.plan, deliver=("me@x.test",)))
    assert trial.deliver(DeliveryTask(1)).failure() is None
    assert attempt.circuits.away() == []
    attempt.hub.close()
    assert [mail.recipient for mail in world.mail.mails] == ["me@x.test"]
