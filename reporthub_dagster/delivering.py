"""One delivery of one execution: who still has to get it, the attempts, the log row of each."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from reporthub_dagster.db.delivery_logs import AttemptOutcome, DeliveryAttempt, DeliveryLogs
from reporthub_dagster.db.executions import Claim, Executions
from reporthub_dagster.db.repository import Repository
from reporthub_dagster.destinations.base import Destination, DestinationSettings, Parcel
from reporthub_dagster.planning import Deliver, destination_for
from reporthub_dagster.reporting.errors import ConfigurationError, PermanentError, ReportHubError
from reporthub_dagster.reporting.file_name import moment_variables
from reporthub_dagster.reporting.records import DeliveryReceipt, RenderedFile, ReportPlan
from reporthub_dagster.reporting.template_values import texts_of

_LOST = "an earlier attempt may have sent it: it is not sent again, ask the recipient"
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

    def failure(self) -> ReportHubError | None:
        """The error for everybody who was tried and did not get it; None when all did."""
        missing = [receipt for receipt in self.receipts if receipt.state != "sent"]
        if not missing:
            return None
        place = f"{self.method} delivery {self.delivery_id} ({self.name})"
        text = "; ".join(f"{place}: {receipt.recipient}: {receipt.detail}" for receipt in missing)
        needs_person = all(receipt.needs_person for receipt in missing)
        return ConfigurationError(text) if needs_person else PermanentError(text)


@dataclass(frozen=True, slots=True)
class Deliverer:
    """Sends the files of one execution.

    Attributes:
        claim: Checked before each send: a run that was taken over sends nothing.
        check: Raises when the run has lost its heart or its claim; asked before each send, too.
        say: Receives one line of progress.
        tolerate: Receives warnings before anything is sent; raises where they are not tolerated.
        pause: Waits for a number of seconds between attempts.
    """

    repository: Repository
    executions: Executions
    logs: DeliveryLogs
    claim: Claim
    plan: ReportPlan
    files: tuple[RenderedFile, ...]
    settings: DestinationSettings
    say: Callable[[str], object]
    tolerate: Callable[[Iterable[str]], object] = lambda _: None
    check: Callable[[], None] = lambda: None
    pause: Callable[[float], None] = time.sleep

    def deliver(self, delivery_id: int) -> DeliveryOutcome:
        """Send to every wanted recipient who has not got it; tries again what may work a moment later.

        Raises:
            ConfigurationError: The delivery's row is wrong; a log row says so.
            LostClaimError: Another run has taken the execution over.
        """
        self._require()
        now = datetime.now(UTC)
        self.logs.settle_dead(self.plan.execution_id, delivery_id, now)
        history = self.logs.history(self.plan.execution_id, delivery_id)
        parcel = Parcel(self.plan.execution_id, self.files, parcel_variables(self.plan, self.files))
        try:
            delivery = self.repository.delivery(delivery_id)
            destination = destination_for(delivery, self.settings)
            self.tolerate([*destination.warnings, *destination.unknown_variables(parcel)])
        except ConfigurationError as error:
            attempt = self._attempt(delivery_id, history.attempts + 1, now, 0)
            self.logs.close(self.logs.open(attempt), attempt, AttemptOutcome(now, {}, error=str(error)))
            raise
        wanted = [name for name in destination.recipients() if is_wanted(self.plan.deliver, name)]
        already = tuple(name for name in wanted if name in history.sent)
        lost = () if destination.repeatable else tuple(name for name in wanted if name in history.unknown)
        due = [name for name in wanted if name not in {*already, *lost}]
        unknown = tuple(DeliveryReceipt(delivery_id, name, "unknown", _LOST, now) for name in lost)
        receipts = self._attempts(destination, parcel, due, history.attempts)
        return DeliveryOutcome(delivery.id, delivery.name, delivery.method, (*unknown, *receipts), already)

    def _attempts(
        self, destination: Destination, parcel: Parcel, due: list[str], earlier: int
    ) -> tuple[DeliveryReceipt, ...]:
        last: dict[str, DeliveryReceipt] = {}
        retries = min(RETRIES, destination.delivery.max_retry)
        for number in range(retries + 1):
            if not due:
                break
            if number:
                self.pause(BACKOFF_SECONDS * 2 ** (number - 1))
            self._require()
            now = datetime.now(UTC)
            attempt = self._attempt(destination.delivery.id, earlier + number + 1, now, len(due))
            row = self.logs.open(attempt)
            progress: dict[str, DeliveryReceipt | None] = {}
            try:
                self._send(row, destination, parcel, due, progress)
            except BaseException:
                with suppress(ReportHubError):  # what is left open is closed by whoever comes next
                    self.logs.note(row, progress)
                    self.logs.settle(row, datetime.now(UTC))
                raise
            receipts = {name: receipt for name, receipt in progress.items() if receipt is not None}
            last |= receipts
            due = [name for name, receipt in receipts.items() if receipt.state == "retry"]
            will_retry = bool(due) and number < retries
            self.logs.close(row, attempt, AttemptOutcome(datetime.now(UTC), receipts, will_retry))
        return tuple(last.values())

    def _send(
        self,
        row: int,
        destination: Destination,
        parcel: Parcel,
        due: list[str],
        progress: dict[str, DeliveryReceipt | None],
    ) -> None:
        """One attempt; `progress` gets the receipts, and None for the one to whom the file is on its way.

        The log knows to whom the file goes before its first byte leaves: a run that dies here leaves the
        state `sending`, and nobody in that state is sent to again.
        """
        with closing(destination.send(parcel, due)) as sending:
            for recipient in due:
                self._require()
                self.logs.note(row, {**progress, recipient: None})
                progress[recipient] = None
                receipt = progress[recipient] = next(sending)
                self.say(f"{destination.method} to {recipient}: {receipt.state}: {receipt.detail}")

    def _require(self) -> None:
        self.check()
        self.executions.require(self.claim)

    def _attempt(self, delivery_id: int, number: int, started: datetime, count: int) -> DeliveryAttempt:
        return DeliveryAttempt(
            config_id=self.plan.config_id,
            delivery_id=delivery_id,
            schedule_id=self.plan.schedule_id,
            execution_id=self.plan.execution_id,
            number=number,
            started_at=started,
            recipient_count=count,
            file_size_bytes=sum(file.size for file in self.files),
        )


def is_wanted(deliver: Deliver, recipient: str) -> bool:
    """True when this run shall reach the recipient."""
    if isinstance(deliver, tuple):
        return recipient.casefold() in {address.casefold() for address in deliver}
    return deliver == "all"


def parcel_variables(plan: ReportPlan, files: Sequence[RenderedFile] = ()) -> Mapping[str, str]:
    """Values for the templates of a delivery that belong to the report; the parcel's own come beside them."""
    moment = plan.window.as_of.astimezone(ZoneInfo(plan.window.timezone))
    return {
        **texts_of(plan.variables),
        "report_name": plan.report_name,
        "timezone": plan.window.timezone,
        **moment_variables(moment),
        "ext": files[0].path.suffix.lstrip(".") if files else "",
    }
