"""`report_delivery_logs`: one row per attempt of a delivery, the Go API's summary of the ledger."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select, update

from reporthub_dagster.db import rows
from reporthub_dagster.db.deliveries import History
from reporthub_dagster.db.executions import MESSAGE_LIMIT
from reporthub_dagster.db.ledger_entries import Entry, log_details
from reporthub_dagster.db.models import ReportDeliveryLog
from reporthub_dagster.db.session import Hub
from reporthub_dagster.reporting.records import DeliveryReceipt

CUT_SHORT = "cut short before everybody was tried"
_NOT_SENT, _NOT_TRIED = "not_sent", "not_tried"
"""Keys of `delivery_details` in rows of which nothing was sent: what comes next is no retry of them."""


@dataclass(frozen=True, slots=True)
class DeliveryAttempt:
    """One attempt of one delivery, before anything is sent.

    Attributes:
        notes: More keys for `delivery_details`.
    """

    config_id: int
    delivery_id: int
    schedule_id: int | None
    execution_id: str
    started_at: datetime
    recipient_count: int
    file_size_bytes: int
    notes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class AttemptOutcome:
    """What became of an attempt.

    Attributes:
        is_made: Whether anything was sent, or tried to be; not where everybody was put off.
    """

    completed_at: datetime
    receipts: Sequence[DeliveryReceipt] = ()
    will_retry: bool = False
    error: str | None = None
    is_made: bool = True


class DeliveryLogs:
    """What was tried when."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def open(self, attempt: DeliveryAttempt) -> int:
        """Write the `pending` row of an attempt, before its first byte; returns the row's id."""
        table = ReportDeliveryLog
        latest = (
            select(table.retry_count, table.delivery_details)
            .where(table.execution_id == attempt.execution_id, table.delivery_id == attempt.delivery_id)
            .order_by(table.id.desc())
            .limit(1)
        )
        values: dict[str, Any] = {
            "config_id": attempt.config_id,
            "delivery_id": attempt.delivery_id,
            "schedule_id": attempt.schedule_id,
            "execution_id": attempt.execution_id,
            "status": "pending",
            "sent_at": rows.to_wall(attempt.started_at, self._hub.zone),
            "recipient_count": attempt.recipient_count,
            "delivery_details": {**attempt.notes, "recipients": []},
            "file_size_bytes": attempt.file_size_bytes,
        }
        with self._hub.begin() as connection:
            before = connection.execute(latest).one_or_none()
            values["retry_count"] = before.retry_count + _is_made(before.delivery_details) if before else 0
            key = connection.execute(insert(table).values(values)).inserted_primary_key
        return int(key[0]) if key else 0

    def close(self, row: int, attempt: DeliveryAttempt, outcome: AttemptOutcome) -> None:
        """Write what became of an attempt."""
        sent = sum(receipt.state == "sent" for receipt in outcome.receipts)
        failed = len(outcome.receipts) - sent
        status = (
            "success" if not failed and not outcome.error else "retry" if outcome.will_retry else "failed"
        )
        elapsed = outcome.completed_at - attempt.started_at
        self._update(
            row,
            {
                "status": status,
                "completed_at": rows.to_wall(outcome.completed_at, self._hub.zone),
                "success_count": sent,
                "failure_count": failed,
                "error_message": _failures_text(outcome),
                "delivery_details": {
                    **attempt.notes,
                    **({} if outcome.is_made else {_NOT_TRIED: True}),
                    "recipients": [_receipt_json(receipt) for receipt in outcome.receipts],
                },
                "processing_time_ms": round(elapsed.total_seconds() * 1000),
            },
        )

    def not_sent(self, attempt: DeliveryAttempt, reason: str) -> None:
        """Write that nobody was to get it, and why."""
        row = self.open(attempt)
        details = {**attempt.notes, "recipients": [], _NOT_SENT: reason}
        completed = rows.to_wall(attempt.started_at, self._hub.zone)
        self._update(row, {"status": "success", "completed_at": completed, "delivery_details": details})

    def settle_dead(
        self, execution_id: str, delivery_id: int, entries: Iterable[Entry], at: datetime
    ) -> None:
        """Close the rows of attempts that died, from the ledger; the caller holds the claim.

        Args:
            execution_id: The execution.
            delivery_id: The delivery.
            entries: What the ledger knows of the delivery.
            at: Now.
        """
        table = ReportDeliveryLog
        died = (
            table.execution_id == execution_id,
            table.delivery_id == delivery_id,
            table.status == "pending",
        )
        known = list(entries)
        tried = [entry for entry in known if entry.state != "pending"]
        everybody = all(entry.state == "sent" for entry in known)
        values = {
            "status": "success" if everybody else "failed",
            "completed_at": rows.to_wall(at, self._hub.zone),
            "success_count": sum(entry.state == "sent" for entry in tried),
            "failure_count": sum(entry.state != "sent" for entry in tried),
            "error_message": None if everybody else CUT_SHORT,
            "delivery_details": {"recipients": log_details(tried)},
        }
        with self._hub.begin() as connection:
            connection.execute(update(table).where(*died).values(values))

    def history(self, execution_id: str, delivery_id: int) -> History:
        """Who has the file by the rows of a release that had no ledger."""
        table = ReportDeliveryLog
        query = select(table.delivery_details).where(
            table.execution_id == execution_id, table.delivery_id == delivery_id
        )
        with self._hub.begin() as connection:
            details = connection.scalars(query).all()
        states = [(receipt.get("recipient"), receipt.get("state")) for receipt in _receipts(details)]
        sent = frozenset(str(name) for name, state in states if state == "sent")
        unknown = frozenset(str(name) for name, state in states if state in {"unknown", "sending"})
        return History(sent, unknown - sent)

    def _update(self, row: int, values: Mapping[str, Any]) -> None:
        with self._hub.begin() as connection:
            connection.execute(update(ReportDeliveryLog).where(ReportDeliveryLog.id == row).values(values))


def _is_made(details: Any) -> bool:
    """Whether a row is of an attempt in which something was sent, or tried to be."""
    return not (isinstance(details, Mapping) and (_NOT_SENT in details or _NOT_TRIED in details))


def _failures_text(outcome: AttemptOutcome) -> str | None:
    lines = [
        f"{receipt.recipient}: {receipt.detail}" for receipt in outcome.receipts if receipt.state != "sent"
    ]
    return "; ".join([*lines, *([outcome.error] if outcome.error else [])])[:MESSAGE_LIMIT] or None


def _receipt_json(receipt: DeliveryReceipt) -> dict[str, str]:
    return {
        "recipient": receipt.recipient,
        "state": receipt.state,
        "detail": receipt.detail,
        "at": receipt.at.isoformat(),
    }


def _receipts(details: Iterable[Any]) -> Iterable[Mapping[str, str]]:
    for detail in details:
        if isinstance(detail, Mapping):
            yield from detail.get("recipients", ())
