"""One delivery of one execution: who still has to get it, an attempt, and what is left for later."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from reporthub_dagster.breaker import Breaker
from reporthub_dagster.db.circuits import Away, Circuits
from reporthub_dagster.db.claims import Claim
from reporthub_dagster.db.deliveries import DeliveryLedger
from reporthub_dagster.db.delivery_logs import CUT_SHORT, AttemptOutcome, DeliveryAttempt, DeliveryLogs
from reporthub_dagster.db.ledger_entries import Entry
from reporthub_dagster.db.repository import Repository
from reporthub_dagster.delivery_outcome import DeliveryOutcome, outcome_of, receipt_of
from reporthub_dagster.delivery_task import DeliveryTask, as_test, parcel_variables
from reporthub_dagster.destinations.base import Destination, Parcel
from reporthub_dagster.destinations.environment import DestinationSettings
from reporthub_dagster.planning import destination_for
from reporthub_dagster.reporting.errors import ConfigurationError, ReportHubError
from reporthub_dagster.reporting.excerpt import MakeExcerpt
from reporthub_dagster.reporting.records import (
    DeliveryReceipt,
    RenderedFile,
    ReportPlan,
)

HICCUP_SECONDS = 2.0
"""Pause before the second try of an attempt in which the other side was not there for anybody."""
_LONGEST_HICCUP = 10.0
"""A try that took longer than this was no hiccup: the next one is the row's to time."""
_MOST_TOLD = 20
"""Recipients who are told of one by one; of more, only those who did not get it."""


@dataclass(frozen=True, slots=True)
class Deliverer:
    """Sends the files of one execution.

    Attributes:
        claim: Checked with each send: a run that was taken over sends nothing.
        excerpt: Makes the first rows for a mail's body.
        check: Raises when the run has lost its heart or its claim; asked before each send, too.
        say: Receives one line of progress.
        tolerate: Receives warnings before anything is sent; raises where they are not tolerated.
        pause: Waits for a number of seconds.
    """

    repository: Repository
    ledger: DeliveryLedger
    circuits: Circuits
    logs: DeliveryLogs
    claim: Claim
    plan: ReportPlan
    files: tuple[RenderedFile, ...]
    settings: DestinationSettings
    excerpt: MakeExcerpt | None
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
        parcel = Parcel(self.plan.execution_id, self.files, variables, self.plan.is_test, self.excerpt)
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
        receipts: dict[str, DeliveryReceipt] = {}
        if due:
            breaker = Breaker(self.circuits, destination, self.say, insists=task.insists or self.plan.is_test)
            breaker.release_moved(entries[name] for name in due)
            entries = self._attempt(destination, parcel, due, receipts, breaker)
        return outcome_of(destination.delivery, [entries[name] for name in wanted], receipts)

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
        self,
        destination: Destination,
        parcel: Parcel,
        due: Sequence[str],
        receipts: dict[str, DeliveryReceipt],
        breaker: Breaker,
    ) -> Mapping[str, Entry]:
        """One attempt: a row of the log, and whoever's server is away put off.

        Args:
            destination: Where to.
            parcel: What.
            due: To whom.
            receipts: Gets the answers.
            breaker: Knows who is to be left alone.

        Returns:
            What the ledger says afterwards.
        """
        row = destination.delivery
        attempt = self._log_row(row.id, len(due))
        log = self.logs.open(attempt)
        try:
            away = breaker.away(due)
            self._put_off(row.id, away)
            tried = [name for name in due if name not in away]
            if tried:
                self._try(destination, parcel, tried, receipts, breaker)
            entries = self.ledger.schedule(
                self.claim,
                row.id,
                most=row.max_retry,
                interval_seconds=row.retry_interval_minutes * 60.0,
                not_before={name: r.retry_after for name, r in receipts.items() if r.retry_after},
            )
        except BaseException:
            with suppress(ReportHubError):  # what is left open is closed by whoever comes next
                self.ledger.settle(self.claim, row.id)
                error = CUT_SHORT if receipts.keys() < set(due) else None
                cut = AttemptOutcome(datetime.now(UTC), list(receipts.values()), error=error)
                self.logs.close(log, attempt, cut)
            raise
        will_retry = any(entries[name].next_attempt_at for name in due)
        told = [receipts.get(name) or receipt_of(row, entries[name]) for name in due]
        closed = AttemptOutcome(datetime.now(UTC), told, will_retry, is_made=bool(tried))
        self.logs.close(log, attempt, closed)
        return entries

    def _put_off(self, delivery_id: int, away: Mapping[str, Away]) -> None:
        """Let those wait whose server is away; no attempt is counted."""
        for state in dict.fromkeys(away.values()):
            names = [name for name, its in away.items() if its == state]
            detail = f"not tried: {state}; the next try is due at {state.probe_at:%H:%M:%S} UTC"
            self.circuits.put_off(self.claim, delivery_id, names, state, detail)
            self.say(f"{len(names):,} recipients are put off: {detail}")

    def _try(
        self,
        destination: Destination,
        parcel: Parcel,
        due: Sequence[str],
        receipts: dict[str, DeliveryReceipt],
        breaker: Breaker,
    ) -> None:
        """Send, and once more where the other side was away for a moment."""
        started = time.monotonic()
        self._send(destination, parcel, due, receipts, breaker)
        is_away = all(_is_soon(receipt) for receipt in receipts.values())
        if is_away and destination.delivery.max_retry and time.monotonic() - started < _LONGEST_HICCUP:
            self.pause(HICCUP_SECONDS)
            self._send(destination, parcel, due, receipts, breaker, counted=False)
        breaker.settle(receipts.values())

    def _send(
        self,
        destination: Destination,
        parcel: Parcel,
        due: Sequence[str],
        receipts: dict[str, DeliveryReceipt],
        breaker: Breaker,
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
                breaker.heard(receipt)
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


def _is_soon(receipt: DeliveryReceipt) -> bool:
    """Whether a recipient may be tried again in a moment: the other side has not asked for longer."""
    return receipt.state == "retry" and (receipt.retry_after or 0.0) <= HICCUP_SECONDS


def _may_be_tried(entry: Entry, max_retry: int) -> bool:
    """Whether it is its turn; a `retry` that has had all its attempts is a person's to try again."""
    return entry.is_due and (entry.state == "pending" or entry.attempts <= max_retry)
