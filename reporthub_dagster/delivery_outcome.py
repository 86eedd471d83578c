"""What became of one delivery, for the run and for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from reporthub_dagster.db.ledger_entries import Entry
from reporthub_dagster.reporting.errors import ConfigurationError, PermanentError, ReportHubError
from reporthub_dagster.reporting.records import Delivery, DeliveryReceipt, ReceiptState

_LOST = "an earlier attempt may have sent it: it is not sent again, ask the recipient"


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


def outcome_of(
    delivery: Delivery, entries: Sequence[Entry], receipts: Mapping[str, DeliveryReceipt]
) -> DeliveryOutcome:
    """What the ledger says after the attempt; `receipts` are those of this run."""
    already = tuple(e.recipient for e in entries if e.state == "sent" and e.recipient not in receipts)
    waiting = {e.recipient: e.next_attempt_at for e in entries if e.next_attempt_at is not None}
    told = tuple(
        receipt_of(delivery, entry, receipts.get(entry.recipient))
        for entry in entries
        if entry.recipient not in already
    )
    retry_at = min(waiting.values(), default=None)
    return DeliveryOutcome(
        delivery.id, delivery.name, delivery.method, told, already, frozenset(waiting), retry_at
    )


def receipt_of(delivery: Delivery, entry: Entry, receipt: DeliveryReceipt | None = None) -> DeliveryReceipt:
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
