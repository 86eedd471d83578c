from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from reporthub_dagster.db.delivery_logs import DeliveryLogs, Progress
from reporthub_dagster.db.executions import Claim, Executions, LostClaimError
from reporthub_dagster.db.repository import Repository
from reporthub_dagster.db.session import Hub
from reporthub_dagster.delivering import Deliverer
from reporthub_dagster.mailing import destination_settings
from reporthub_dagster.planning import ReportRequest, plan_report
from reporthub_dagster.producing import read_rows, write_file
from reporthub_dagster.reporting.errors import ConfigurationError, PermanentError, TransientError
from reporthub_dagster.reporting.records import ReportPlan
from reporthub_dagster.settings import Settings
from reporthub_dagster.storage.execution_folder import ExecutionFolder
from reporthub_dagster_tests.installation import ZONE, World
from reporthub_dagster_tests.servers.smtp import DROP

pytestmark = pytest.mark.parametrize("world", ["sqlite"], indirect=True)
NOW = datetime.now(UTC)


class Attempt:
    """An execution whose file is ready to be delivered by run-1."""

    def __init__(self, world: World) -> None:
        settings = Settings.load()
        self.hub = Hub(settings.hub_url, ZoneInfo("UTC"))
        self.repository = Repository(self.hub)
        self.executions = Executions(self.hub)
        self.logs = DeliveryLogs(self.hub)
        self.settings = destination_settings(settings)
        self.executions.add("e", config_id=1, schedule_id=None, executed_by="x", at=NOW)
        self.claim = self.take_over(None, "run-1")
        self.plan: ReportPlan = plan_report(
            self.repository,
            ReportRequest(1),
            execution_id="e",
            now=NOW,
            default_timezone=ZONE,
            destinations=self.settings,
        )
        folder = ExecutionFolder(world.home / "output" / "e")
        rows = read_rows(self.plan, self.repository, folder, lambda _: None)
        self.file = write_file(self.plan, rows.result, folder)

    def take_over(self, after: Claim | None, run_id: str) -> Claim:
        claim = self.executions.claim("e", run_id, after=after, from_status="running", at=NOW)
        assert claim is not None
        return claim

    def deliverer(self, claim: Claim, say: Callable[[str], object] = lambda _: None) -> Deliverer:
        return Deliverer(
            repository=self.repository,
            executions=self.executions,
            logs=self.logs,
            claim=claim,
            plan=self.plan,
            files=(self.file,),
            settings=self.settings,
            say=say,
            pause=lambda _: None,
        )


def test_a_run_that_is_taken_over_sends_nothing_more(world: World) -> None:
    attempt = Attempt(world)
    say = lambda _: attempt.take_over(attempt.claim, "run-2")  # noqa: E731
    with pytest.raises(LostClaimError):
        attempt.deliverer(attempt.claim, say).deliver(1)
    attempt.hub.close()
    assert [mail.recipient for mail in world.mail.mails] == ["ana@finance.test"]


def test_the_heir_knows_who_has_it(world: World) -> None:
    attempt = Attempt(world)
    heirs: list[Claim] = []
    say = lambda _: heirs.append(attempt.take_over(attempt.claim, "run-2"))  # noqa: E731
    with pytest.raises(LostClaimError):
        attempt.deliverer(attempt.claim, say).deliver(1)
    outcome = attempt.deliverer(heirs[0]).deliver(1)
    attempt.hub.close()
    assert outcome.already == ("ana@finance.test",)
    assert [mail.recipient for mail in world.mail.mails] == ["ana@finance.test", "budi@finance.test"]
    first, second = world.go.rows("SELECT * FROM report_delivery_logs ORDER BY id")
    assert (first["status"], first["error_message"]) == ("failed", "cut short before everybody was tried")
    assert (second["status"], second["retry_count"]) == ("success", 1)


def test_an_interrupt_between_two_recipients_loses_no_receipt(world: World) -> None:
    attempt = Attempt(world)

    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attempt.deliverer(attempt.claim, interrupt).deliver(1)
    history = attempt.logs.history("e", 1)
    assert history.sent | history.unknown == {"ana@finance.test"}
    attempt.hub.close()


def test_who_may_have_it_when_a_run_dies_is_never_sent_to_again(world: World) -> None:
    attempt = Attempt(world)
    with pytest.raises(SystemExit):
        # Dies after the first message has gone and before anything is known of it.
        replace(attempt.deliverer(attempt.claim), logs=DyingLogs(attempt.hub)).deliver(1)
    assert [mail.recipient for mail in world.mail.mails] == ["ana@finance.test"]
    heir = attempt.deliverer(attempt.claim).deliver(1)
    receipts = {receipt["recipient"]: receipt["state"] for receipt in attempt.logs.receipts("e")}
    attempt.hub.close()
    assert "ana@finance.test: an earlier attempt may have sent it" in str(heir.failure())
    assert len(world.mail.to("ana@finance.test")) == 1
    assert receipts == {"ana@finance.test": "unknown", "budi@finance.test": "sent"}


class DyingLogs(DeliveryLogs):
    """The process dies where it would note the first receipt; nothing after that is written."""

    dead = False

    def note(self, row: int, progress: Progress) -> None:
        self.dead = self.dead or len(progress) > 1
        if self.dead:
            raise SystemExit
        super().note(row, progress)

    def settle(self, row: int, at: datetime) -> None:
        if not self.dead:
            super().settle(row, at)


def test_nothing_is_sent_that_cannot_be_noted_first(world: World) -> None:
    attempt = Attempt(world)
    world.go.execute(
        "CREATE TRIGGER broken BEFORE UPDATE ON report_delivery_logs "
        "BEGIN SELECT RAISE(ABORT, 'disk full'); END"
    )
    with pytest.raises((TransientError, PermanentError)):
        attempt.deliverer(attempt.claim).deliver(1)
    attempt.hub.close()
    assert world.mail.mails == []


@pytest.mark.parametrize("column", ["max_retry", "retry_interval_minutes"])
def test_a_number_that_no_delivery_can_have_is_named(world: World, column: str) -> None:
    world.go.execute(f"UPDATE report_deliveries SET {column} = -1 WHERE id = 1")
    attempt = Attempt(world)
    with pytest.raises(ConfigurationError, match=f"report_deliveries 1, column {column}"):
        attempt.deliverer(attempt.claim).deliver(1)
    attempt.hub.close()
    (log,) = world.go.rows("SELECT * FROM report_delivery_logs")
    assert log["status"] == "failed"
    assert column in log["error_message"]


def test_an_answer_that_was_lost_is_never_sent_again(world: World) -> None:
    attempt = Attempt(world)
    world.mail.script("ana@finance.test", "ANSWER", DROP)
    outcome = attempt.deliverer(attempt.claim).deliver(1)
    assert {receipt.recipient: receipt.state for receipt in outcome.receipts}["ana@finance.test"] == "unknown"
    again = attempt.deliverer(attempt.claim).deliver(1)
    attempt.hub.close()
    assert again.already == ("budi@finance.test",)
    assert "ask the recipient" in str(again.failure())
    assert len(world.mail.to("ana@finance.test")) == 1


def test_the_pause_between_attempts_grows(world: World) -> None:
    attempt = Attempt(world)
    world.mail.script("ana@finance.test", "RCPT", *["450 4.2.0 later"] * 9)
    pauses: list[float] = []
    outcome = replace(attempt.deliverer(attempt.claim), pause=pauses.append).deliver(1)
    attempt.hub.close()
    assert len(pauses) == 2
    assert pauses[1] == 2 * pauses[0]
    failure = outcome.failure()
    assert type(failure) is PermanentError
    assert str(failure) == "email delivery 1 (Finance): ana@finance.test: " + outcome.receipts[0].detail


def test_the_templates_of_a_delivery_know_the_report(world: World) -> None:
    world.go.execute(
        "UPDATE report_deliveries SET delivery_config = :config WHERE id = 1",
        config='{"subject": "{report_name} {row_count} {file_name} {start_date}", '
        '"body": "{{execution_id}} {{ext}}"}',
    )
    attempt = Attempt(world)
    attempt.deliverer(attempt.claim).deliver(1)
    attempt.hub.close()
    message = world.mail.mails[0].message
    assert message["Subject"].startswith(f"Sales 3 {Path(attempt.file.path).name} ")
    assert message.get_body(("plain",)).get_content().split() == ["e", "csv"]  # type: ignore[union-attr]
