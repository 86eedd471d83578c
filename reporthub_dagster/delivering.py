"""One delivery of one execution: who still has to get it, an attempt, and what is left for later."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from reporthub_dagster.db.deliveries import DeliveryLedger, Entry
from reporthub_dagster.db.delivery_logs import CUT_SHORT, AttemptOutcome, DeliveryAttempt, DeliveryLogs
from reporthub_dagster.db.executions import Claim
from reporthub_dagster.db.repository import Repository
from reporthub_dagster.destinations.base import Destination, DestinationSettings, Parcel
from reporthub_dagster.planning import destination_for
from reporthub_dagster.reporting.errors import ConfigurationError, PermanentError, ReportHubError
from reporthub_dagster.reporting.file_name import moment_variables
from reporthub_dagster.reporting.records import (
    Delivery,
    DeliveryReceipt,
    ReceiptState,
    Recipient,
    RenderedFile,
    ReportPlan,
)
from reporthub_dagster.reporting.template_values import texts_of

_LOST = "an earlier attempt may have sent it: it is not sent again, ask the recipient"
HICCUP_SECONDS = 2.0
"""Pause before the second try of an attempt in which the other side was not there for anybody."""
_LONGEST_HICCUP = 10.0
"""A try that took longer than this was no hiccup: the next one is the row's to time."""
_MOST_TOLD = 20
"""Recipients who are told of one by one; of more, only those who did not get it."""


@dataclass(frozen=True, slots=True)
class DeliveryTask:
    """What one branch of a run is to do.

    Attributes:
        only: Nobody but these; None for everybody who is due.
    """

    delivery_id: int
    only: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class DeliveryOutcome:
    """What became of one delivery.

    Attributes:
        receipts: The last receipt of each recipient who was tried, or who has not got it.
        already: Recipients that an earlier run of this execution had reached; they were not tried again.
        waiting: Recipients who will be tried again.
        retry_at: When the first of them will be.
    """

    delivery_id: int
    name: str
    method: str
    receipts: tuple[DeliveryReceipt, ...] = ()
    already: tuple[str, ...] = ()
    waiting: frozenset[str] = frozenset()
    retry_at: datetime | None = None

    def failure(self) -> ReportHubError | None:
        """The error for everybody who has not got it and will not be tried again; None for nobody."""
        missing = [r for r in self.receipts if r.state != "sent" and r.recipient not in self.waiting]
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
        claim: Checked with each send: a run that was taken over sends nothing.
        check: Raises when the run has lost its heart or its claim; asked before each send, too.
        say: Receives one line of progress.
        tolerate: Receives warnings before anything is sent; raises where they are not tolerated.
        pause: Waits for a number of seconds.
    """

    repository: Repository
    ledger: DeliveryLedger
    logs: DeliveryLogs
    claim: Claim
    plan: ReportPlan
    files: tuple[RenderedFile, ...]
    settings: DestinationSettings
    say: Callable[[str], object]
    tolerate: Callable[[Iterable[str]], object] = lambda _: None
    check: Callable[[], None] = lambda: None
    pause: Callable[[float], None] = time.sleep

    def deliver(self, task: DeliveryTask) -> DeliveryOutcome:
        """Send to every wanted recipient who is due; what may work later gets its time.

        Raises:
            ConfigurationError: The delivery's row is wrong; a log row says so.
            LostClaimError: Another run has taken the execution over.
        """
        self.check()
        variables = parcel_variables(self.plan, self.files)
        parcel = Parcel(self.plan.execution_id, self.files, variables, self.plan.is_test)
        try:
            row = self.repository.delivery(task.delivery_id)
            delivery = as_test(row, self.plan.deliver) if isinstance(self.plan.deliver, tuple) else row
            if delivery is None:
                self.say(f"{row.method} delivery {row.id} has no part in a test run")
                return DeliveryOutcome(row.id, row.name, row.method)
            destination = destination_for(delivery, self.settings)
            self.tolerate([*destination.warnings, *destination.unknown_variables(parcel)])
        except ConfigurationError as error:
            self._log_fault(task.delivery_id, error)
            raise
        wanted = destination.recipients()
        entries = self._open(destination, wanted)
        chosen = {name.casefold() for name in (wanted if task.only is None else task.only)}
        most = destination.delivery.max_retry
        due = [name for name in wanted if name.casefold() in chosen and _may_be_tried(entries[name], most)]
        receipts = self._attempt(destination, parcel, due) if due else {}
        now = self.ledger.entries(self.plan.execution_id, task.delivery_id)
        return _outcome(destination.delivery, [now[name] for name in wanted], receipts)

    def _open(self, destination: Destination, wanted: Sequence[str]) -> Mapping[str, Entry]:
        execution_id, delivery_id = self.plan.execution_id, destination.delivery.id
        entries = self.ledger.open(
            self.claim,
            delivery_id,
            wanted,
            unanswered="pending" if destination.repeatable else "unknown",
            history=lambda: self.logs.history(execution_id, delivery_id),
        )
        self.logs.settle_dead(execution_id, delivery_id, entries.values(), datetime.now(UTC))
        return entries

    def _attempt(
        self, destination: Destination, parcel: Parcel, due: Sequence[str]
    ) -> dict[str, DeliveryReceipt]:
        """One attempt: a row of the log, and a second try where the other side was away for a moment."""
        row = destination.delivery
        attempt = self._log_row(row.id, len(due))
        log = self.logs.open(attempt)
        started = time.monotonic()
        receipts: dict[str, DeliveryReceipt] = {}
        try:
            self._send(destination, parcel, due, receipts)
            is_away = all(_is_soon(receipt) for receipt in receipts.values())
            if is_away and row.max_retry and time.monotonic() - started < _LONGEST_HICCUP:
                self.pause(HICCUP_SECONDS)
                self._send(destination, parcel, due, receipts, counted=False)
            self.ledger.schedule(
                self.claim,
                row.id,
                most=row.max_retry,
                interval_seconds=row.retry_interval_minutes * 60.0,
                not_before={name: r.retry_after for name, r in receipts.items() if r.retry_after},
            )
        except BaseException:
            with suppress(ReportHubError):  # what is left open is closed by whoever comes next
                self.ledger.settle(self.claim, row.id)
                cut = AttemptOutcome(datetime.now(UTC), list(receipts.values()), error=CUT_SHORT)
                self.logs.close(log, attempt, cut)
            raise
        entries = self.ledger.entries(self.plan.execution_id, row.id)
        will_retry = any(entries[name].next_attempt_at for name in due)
        closed = AttemptOutcome(datetime.now(UTC), list(receipts.values()), will_retry)
        self.logs.close(log, attempt, closed)
        return receipts

    def _send(
        self,
        destination: Destination,
        parcel: Parcel,
        due: Sequence[str],
        receipts: dict[str, DeliveryReceipt],
        *,
        counted: bool = True,
    ) -> None:
        """One try; `receipts` gets the answers.

        The ledger knows to whom the file goes before its first byte leaves: a run that dies here leaves the
        state `sending`, and nobody in that state is sent to again.
        """
        delivery_id = destination.delivery.id
        with closing(destination.send(parcel, due)) as sending:
            for recipient in due:
                self.check()
                self.ledger.begin(self.claim, delivery_id, recipient, counted=counted)
                receipt = receipts[recipient] = next(sending)
                self.ledger.answer(self.claim, receipt)
                if len(due) <= _MOST_TOLD or receipt.state != "sent":
                    self.say(f"{destination.method} to {recipient}: {receipt.state}: {receipt.detail}")
        if len(due) > _MOST_TOLD:
            sent = sum(receipts[name].state == "sent" for name in due)
            self.say(f"{destination.method}: sent to {sent:,} of {len(due):,}")

    def _log_fault(self, delivery_id: int, error: ConfigurationError) -> None:
        attempt = self._log_row(delivery_id, 0)
        outcome = AttemptOutcome(attempt.started_at, error=str(error))
        self.logs.close(self.logs.open(attempt), attempt, outcome)

    def _log_row(self, delivery_id: int, count: int) -> DeliveryAttempt:
        return attempt_row(self.plan, self.files, delivery_id, count)


def attempt_row(
    plan: ReportPlan, files: Iterable[RenderedFile], delivery_id: int, count: int
) -> DeliveryAttempt:
    """What the log says of an attempt before it begins."""
    return DeliveryAttempt(
        config_id=plan.config_id,
        delivery_id=delivery_id,
        schedule_id=plan.schedule_id,
        execution_id=plan.execution_id,
        started_at=datetime.now(UTC),
        recipient_count=count,
        file_size_bytes=sum(file.size for file in files),
        notes={"test": True} if plan.is_test else {},
    )


def as_test(delivery: Delivery, addresses: Iterable[str]) -> Delivery | None:
    """A delivery as a test run tries it: to these addresses and nobody else; None where it is no e-mail."""
    if delivery.method != "email":
        return None
    options = {key: value for key, value in delivery.options.items() if key not in {"cc", "bcc"}}
    callers = tuple(Recipient(0, "email", address, {}) for address in addresses)
    return replace(delivery, options=options, recipients=callers)


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


def _is_soon(receipt: DeliveryReceipt) -> bool:
    """Whether a recipient may be tried again in a moment: the other side has not asked for longer."""
    return receipt.state == "retry" and (receipt.retry_after or 0.0) <= HICCUP_SECONDS


def _may_be_tried(entry: Entry, max_retry: int) -> bool:
    """Whether it is its turn; a `retry` that has had all its attempts is a person's to try again."""
    return entry.is_due and (entry.state == "pending" or entry.attempts <= max_retry)


def _outcome(
    delivery: Delivery, entries: Sequence[Entry], receipts: Mapping[str, DeliveryReceipt]
) -> DeliveryOutcome:
    """What the ledger says after the attempt; `receipts` are those of this run."""
    already = tuple(e.recipient for e in entries if e.state == "sent" and e.recipient not in receipts)
    waiting = {e.recipient: e.next_attempt_at for e in entries if e.next_attempt_at is not None}
    told = tuple(
        _receipt(delivery, entry, receipts.get(entry.recipient))
        for entry in entries
        if entry.recipient not in already
    )
    retry_at = min(waiting.values(), default=None)
    return DeliveryOutcome(
        delivery.id, delivery.name, delivery.method, told, already, frozenset(waiting), retry_at
    )


def _receipt(delivery: Delivery, entry: Entry, receipt: DeliveryReceipt | None) -> DeliveryReceipt:
    """The receipt of this run, else what an earlier one has left."""
    if receipt is None:
        at = entry.at or datetime.now(UTC)
        detail = _LOST if entry.state == "unknown" else entry.detail or "not tried yet"
        state: ReceiptState = (
            "retry" if entry.state == "pending" or entry.state == "sending" else entry.state  # noqa: PLR1714 - for mypy
        )
        receipt = DeliveryReceipt(delivery.id, entry.recipient, state, detail, at)
    is_used_up = entry.state == "retry" and entry.next_attempt_at is None and delivery.max_retry
    if is_used_up:
        return replace(receipt, detail=f"{receipt.detail} (after {delivery.max_retry} retries)")
    return receipt
