"""`report_delivery_logs`: one row per attempt of a delivery, with a receipt for every recipient."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select, update

from reporthub_dagster.db import rows
from reporthub_dagster.db.executions import MESSAGE_LIMIT
from reporthub_dagster.db.models import ReportDeliveryLog
from reporthub_dagster.db.session import Hub
from reporthub_dagster.reporting.records import DeliveryReceipt

Progress = Mapping[str, DeliveryReceipt | None]
"""Recipient → its receipt; None for the one to whom the file is on its way."""

_ON_ITS_WAY = "sending"


@dataclass(frozen=True, slots=True)
class DeliveryAttempt:
    """One attempt of one delivery, before anything is sent."""

    config_id: int
    delivery_id: int
    schedule_id: int | None
    execution_id: str
    number: int
    started_at: datetime
    recipient_count: int
    file_size_bytes: int


@dataclass(frozen=True, slots=True)
class AttemptOutcome:
    """What became of an attempt."""

    completed_at: datetime
    progress: Progress
    will_retry: bool = False
    error: str | None = None


@dataclass(frozen=True, slots=True)
class DeliveryHistory:
    """What earlier attempts of one delivery of one execution did.

    Attributes:
        attempts: How many there were.
        sent: Recipients who have the file.
        unknown: Recipients who may have it: the answer was lost, or the attempt died while sending.
    """

    attempts: int
    sent: frozenset[str]
    unknown: frozenset[str]


class DeliveryLogs:
    """What was sent to whom."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def open(self, attempt: DeliveryAttempt) -> int:
        """Write the `pending` row of an attempt, before its first byte; returns the row's id."""
        values: dict[str, Any] = {
            "config_id": attempt.config_id,
            "delivery_id": attempt.delivery_id,
            "schedule_id": attempt.schedule_id,
            "execution_id": attempt.execution_id,
            "status": "pending",
            "sent_at": rows.to_wall(attempt.started_at, self._hub.zone),
            "recipient_count": attempt.recipient_count,
            "retry_count": attempt.number - 1,
            "delivery_details": {"recipients": []},
            "file_size_bytes": attempt.file_size_bytes,
        }
        with self._hub.begin() as connection:
            key = connection.execute(insert(ReportDeliveryLog).values(values)).inserted_primary_key
        return int(key[0]) if key else 0

    def note(self, row: int, progress: Progress) -> None:
        """Write who has an answer and to whom the file goes now, before it goes."""
        self._update(row, {"delivery_details": _details(progress)})

    def close(self, row: int, attempt: DeliveryAttempt, outcome: AttemptOutcome) -> None:
        """Write what became of an attempt."""
        receipts = list(outcome.progress.values())
        sent = sum(receipt is not None and receipt.state == "sent" for receipt in receipts)
        failed = len(receipts) - sent
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
                "delivery_details": _details(outcome.progress),
                "processing_time_ms": round(elapsed.total_seconds() * 1000),
            },
        )

    def settle(self, row: int, at: datetime) -> None:
        """Close the row of an attempt that was cut short: what was on its way then is `unknown` now."""
        table = ReportDeliveryLog
        with self._hub.begin() as connection:
            details = connection.scalar(select(table.delivery_details).where(table.id == row))
        receipts = [_settled(receipt) for receipt in _receipts([details])]
        self._update(
            row,
            {
                "status": "failed",
                "completed_at": rows.to_wall(at, self._hub.zone),
                "success_count": sum(receipt["state"] == "sent" for receipt in receipts),
                "error_message": "cut short before everybody was tried",
                "delivery_details": {"recipients": receipts},
            },
        )

    def settle_dead(self, execution_id: str, delivery_id: int, at: datetime) -> None:
        """Close the rows of attempts that died; the caller holds the claim, so that none of them is alive."""
        table = ReportDeliveryLog
        died = (
            table.execution_id == execution_id,
            table.delivery_id == delivery_id,
            table.status == "pending",
        )
        with self._hub.begin() as connection:
            found = connection.scalars(select(table.id).where(*died)).all()
        for row in found:
            self.settle(row, at)

    def history(self, execution_id: str, delivery_id: int) -> DeliveryHistory:
        """What `report_delivery_logs` knows about one delivery of one execution."""
        table = ReportDeliveryLog
        query = select(table.delivery_details).where(
            table.execution_id == execution_id, table.delivery_id == delivery_id
        )
        with self._hub.begin() as connection:
            details = connection.scalars(query).all()
        states = [(receipt["recipient"], receipt["state"]) for receipt in _receipts(details)]
        sent = frozenset(name for name, state in states if state == "sent")
        unknown = frozenset(name for name, state in states if state in {"unknown", _ON_ITS_WAY})
        return DeliveryHistory(len(details), sent, unknown - sent)

    def receipts(self, execution_id: str) -> list[dict[str, Any]]:
        """The last receipt of every recipient of an execution, with its delivery."""
        table = ReportDeliveryLog
        query = select(table.delivery_id, table.delivery_details)
        with self._hub.begin() as connection:
            found = connection.execute(
                query.where(table.execution_id == execution_id).order_by(table.id)
            ).all()
        last: dict[tuple[int | None, str], dict[str, Any]] = {}
        for row in found:
            for receipt in _receipts([row.delivery_details]):
                key = (row.delivery_id, receipt["recipient"])
                last[key] = {"delivery_id": row.delivery_id, **receipt}
        return list(last.values())

    def _update(self, row: int, values: Mapping[str, Any]) -> None:
        with self._hub.begin() as connection:
            connection.execute(update(ReportDeliveryLog).where(ReportDeliveryLog.id == row).values(values))


def _failures_text(outcome: AttemptOutcome) -> str | None:
    lines = [
        f"{recipient}: {receipt.detail if receipt else 'the answer was lost'}"
        for recipient, receipt in outcome.progress.items()
        if receipt is None or receipt.state != "sent"
    ]
    return "; ".join([*lines, *([outcome.error] if outcome.error else [])])[:MESSAGE_LIMIT] or None


def _details(progress: Progress) -> dict[str, Any]:
    return {"recipients": [_receipt_json(recipient, receipt) for recipient, receipt in progress.items()]}


def _receipt_json(recipient: str, receipt: DeliveryReceipt | None) -> dict[str, str]:
    if receipt is None:
        return {"recipient": recipient, "state": _ON_ITS_WAY, "detail": ""}
    return {
        "recipient": recipient,
        "state": receipt.state,
        "detail": receipt.detail,
        "at": receipt.at.isoformat(),
    }


def _settled(receipt: Mapping[str, str]) -> dict[str, str]:
    if receipt["state"] != _ON_ITS_WAY:
        return dict(receipt)
    return {**receipt, "state": "unknown", "detail": "the run ended before the answer came"}


def _receipts(details: Iterable[Any]) -> Iterable[Mapping[str, str]]:
    for detail in details:
        if isinstance(detail, Mapping):
            yield from detail.get("recipients", ())
