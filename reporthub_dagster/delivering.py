"""One delivery of one execution: who still has to get it, the attempts, the log row of each."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from reporthub_dagster.db.delivery_logs import DeliveryAttempt, DeliveryLogs
from reporthub_dagster.db.executions import Claim, Executions
from reporthub_dagster.db.repository import Repository
from reporthub_dagster.destinations.base import Destination, DestinationSettings, Parcel
from reporthub_dagster.planning import Deliver, destination_for
from reporthub_dagster.reporting.errors import ConfigurationError
from reporthub_dagster.reporting.records import DeliveryReceipt, RenderedFile, ReportPlan
from reporthub_dagster.reporting.template_values import texts_of

RETRIES = 2
"""Further attempts within a run, for what may work a moment later."""
BACKOFF_SECONDS = 2.0
"""Pause before the first of them; the next one is twice as long."""


@dataclass(frozen=True, slots=True)
class DeliveryOutcome:
    """What became of one delivery.

    Attributes:
        receipts: The last receipt of each recipient that was tried.
        already: Recipients that an earlier run of this execution had reached; they were not tried again.
    """

    delivery_id: int
    name: str
    method: str
    receipts: tuple[DeliveryReceipt, ...] = ()
    already: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def failures(self) -> tuple[str, ...]:
        """One line for everybody who was tried and did not get it."""
        place = f"{self.method} delivery {self.delivery_id} ({self.name})"
        missing = (receipt for receipt in self.receipts if receipt.state != "sent")
        return tuple(f"{place}: {receipt.recipient}: {receipt.detail}" for receipt in missing)


@dataclass(frozen=True, slots=True)
class Deliverer:
    """Sends the file of one execution.

    Attributes:
        claim: Checked before each send: a run that was taken over sends nothing.
        say: Receives one line of progress.
        pause: Waits for a number of seconds between attempts.
    """

    repository: Repository
    executions: Executions
    logs: DeliveryLogs
    claim: Claim
    plan: ReportPlan
    file: RenderedFile
    settings: DestinationSettings
    say: Callable[[str], object]
    pause: Callable[[float], None] = time.sleep

    def deliver(self, delivery_id: int) -> DeliveryOutcome:
        """Send to every wanted recipient who has not got it; tries again what may work a moment later.

        Raises:
            ConfigurationError: The delivery's row is wrong; a log row says so.
            LostClaimError: Another run has taken the execution over.
        """
        started = datetime.now(UTC)
        delivery = self.repository.delivery(delivery_id)
        try:
            destination = destination_for(delivery, self.settings)
        except ConfigurationError as error:
            self._log(delivery_id, 1, started, error=str(error))
            raise
        history = self.logs.history(self.plan.execution_id, delivery_id)
        wanted = [name for name in destination.recipients() if is_wanted(self.plan.deliver, name)]
        already = tuple(name for name in wanted if name in history.reached)
        outcome = DeliveryOutcome(delivery.id, delivery.name, delivery.method, already=already)
        due = [name for name in wanted if name not in history.reached]
        retries = min(RETRIES, delivery.max_retry)
        return self._attempts(destination, outcome, due, history.attempts, retries)

    def _attempts(
        self, destination: Destination, outcome: DeliveryOutcome, due: list[str], earlier: int, retries: int
    ) -> DeliveryOutcome:
        last: dict[str, DeliveryReceipt] = {}
        for number in range(retries + 1):
            if not due:
                break
            if number:
                self.pause(BACKOFF_SECONDS * 2 ** (number - 1))
            started = datetime.now(UTC)
            receipts = self._send(destination, due, earlier + number + 1, started)
            last |= {receipt.recipient: receipt for receipt in receipts}
            due = [receipt.recipient for receipt in receipts if receipt.state == "retry"]
            will_retry = bool(due) and number < retries
            self._log(outcome.delivery_id, earlier + number + 1, started, receipts, will_retry=will_retry)
        return replace(outcome, receipts=tuple(last.values()), warnings=destination.warnings)

    def _send(
        self, destination: Destination, due: list[str], number: int, started: datetime
    ) -> tuple[DeliveryReceipt, ...]:
        """One attempt; when it is cut short, the log still knows who has got the file."""
        parcel = Parcel(self.plan.execution_id, (self.file,), parcel_variables(self.plan, self.file))
        receipts: list[DeliveryReceipt] = []
        self.executions.require(self.claim)
        try:
            with closing(destination.send(parcel, due)) as sending:
                for receipt in sending:
                    receipts.append(receipt)
                    self.say(
                        f"{destination.method} to {receipt.recipient}: {receipt.state}: {receipt.detail}"
                    )
                    self.executions.require(self.claim)
        except BaseException:
            cut = "cut short before everybody was tried"
            self._log(destination.delivery.id, number, started, tuple(receipts), error=cut)
            raise
        return tuple(receipts)

    def _log(
        self,
        delivery_id: int,
        number: int,
        started: datetime,
        receipts: tuple[DeliveryReceipt, ...] = (),
        *,
        error: str | None = None,
        will_retry: bool = False,
    ) -> None:
        self.logs.add(
            DeliveryAttempt(
                config_id=self.plan.config_id,
                delivery_id=delivery_id,
                schedule_id=self.plan.schedule_id,
                execution_id=self.plan.execution_id,
                number=number,
                started_at=started,
                completed_at=datetime.now(UTC),
                receipts=receipts,
                error=error,
                file_size_bytes=self.file.size,
                will_retry=will_retry,
            )
        )


def is_wanted(deliver: Deliver, recipient: str) -> bool:
    """True when this run shall reach the recipient."""
    if isinstance(deliver, tuple):
        return recipient.casefold() in {address.casefold() for address in deliver}
    return deliver == "all"


def parcel_variables(plan: ReportPlan, file: RenderedFile) -> Mapping[str, str]:
    """Values for the templates of a delivery: the report's own and what is known about the file."""
    return {
        **texts_of(plan.variables),
        "report_name": plan.report_name,
        "execution_id": plan.execution_id,
        "file_name": file.name,
        "row_count": str(file.row_count),
        "ext": file.path.suffix.lstrip("."),
    }
