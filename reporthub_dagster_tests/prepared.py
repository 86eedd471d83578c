"""An execution whose file is ready to be delivered, without Dagster: for tests that are about sending."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from reporthub_dagster.db.circuits import Circuits
from reporthub_dagster.db.claims import Claim
from reporthub_dagster.db.deliveries import DeliveryLedger
from reporthub_dagster.db.delivery_logs import DeliveryLogs
from reporthub_dagster.db.executions import Executions
from reporthub_dagster.db.leases import Leases
from reporthub_dagster.db.repository import Repository
from reporthub_dagster.db.session import Hub
from reporthub_dagster.delivering import Deliverer
from reporthub_dagster.delivery_outcome import DeliveryOutcome
from reporthub_dagster.delivery_task import DeliveryTask
from reporthub_dagster.mailing import destination_settings
from reporthub_dagster.planning import ReportRequest, plan_report
from reporthub_dagster.producing import read_rows
from reporthub_dagster.rendering import write_files
from reporthub_dagster.reporting.records import ReportPlan
from reporthub_dagster.settings import Settings
from reporthub_dagster.storage.execution_folder import ExecutionFolder
from reporthub_dagster_tests.installation import ZONE, World

NOW = datetime.now(UTC)


class Prepared:
    """Execution `e` of report 1, held by run-1; or, in another process, as it was left there."""

    def __init__(self, home: Path) -> None:
        settings = Settings.load()
        self.hub = Hub(settings.hub_url, ZoneInfo("UTC"))
        self.repository = Repository(self.hub)
        self.executions = Executions(self.hub)
        self.ledger = DeliveryLedger(self.hub)
        self.logs = DeliveryLogs(self.hub)
        self.circuits = Circuits(self.hub, settings.breaker_policy)
        self.settings = destination_settings(settings)
        self.executions.add("e", config_id=1, schedule_id=None, executed_by="x", at=NOW)
        holder = Leases(self.hub).holder("e")
        number = holder.claim.token + 1 if holder else 1
        self.claim = self.take_over(holder.claim if holder else None, f"run-{number}")
        self.plan: ReportPlan = plan_report(
            self.repository,
            ReportRequest(1),
            execution_id="e",
            now=NOW,
            default_timezone=ZONE,
        )
        folder = ExecutionFolder(home / "output" / "e")
        rows = read_rows(self.plan, self.repository, folder, lambda _: None)
        self.files = write_files(self.plan, rows.results, folder)

    def take_over(self, after: Claim | None, run_id: str) -> Claim:
        """A claim of another run."""
        claim = self.executions.claim("e", run_id, after=after, from_status="running", at=NOW)
        assert claim is not None
        return claim

    def deliverer(self, claim: Claim, say: Callable[[str], object] = lambda _: None) -> Deliverer:
        """Who sends under a claim."""
        return Deliverer(
            excerpt=None,
            repository=self.repository,
            ledger=self.ledger,
            circuits=self.circuits,
            logs=self.logs,
            claim=claim,
            plan=self.plan,
            files=self.files,
            settings=self.settings,
            say=say,
            pause=lambda _: None,
        )

    def deliver(self) -> DeliveryOutcome:
        """One more run that delivers delivery 1."""
        return self.deliverer(self.claim).deliver(DeliveryTask(1))


def mail_to(world: World, recipients: Sequence[str]) -> None:
    """Delivery 1 goes to these and nobody else."""
    world.go.execute("DELETE FROM report_delivery_recipients")
    for row, recipient in enumerate(recipients, 1):
        world.go.insert("report_delivery_recipients", id=row, delivery_id=1, recipient_value=recipient)
