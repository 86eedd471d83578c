"""`report_delivery_logs`: one row per attempt of a delivery, with a receipt for every recipient."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select

from reporthub_dagster.db import rows
from reporthub_dagster.db.executions import MESSAGE_LIMIT
from reporthub_dagster.db.models import ReportDeliveryLog
from reporthub_dagster.db.session import Hub
from reporthub_dagster.reporting.records import DeliveryReceipt


@dataclass(frozen=True, slots=True)
class DeliveryAttempt:
    """One attempt of one delivery, as `report_delivery_logs` keeps it."""

    config_id: int
    delivery_id: int
    schedule_id: int | None
    execution_id: str
    number: int
    started_at: datetime
    completed_at: datetime
    receipts: tuple[DeliveryReceipt, ...]
    error: str | None
    file_size_bytes: int
    will_retry: bool


@dataclass(frozen=True, slots=True)
class DeliveryHistory:
    """What earlier attempts of one delivery of one execution did.

    Attributes:
        attempts: How many there were.
        reached: Recipients who have the file, or may have it (`unknown`): not to be sent to again.
    """

    attempts: int
    reached: frozenset[str]


class DeliveryLogs:
    """What was sent to whom."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def add(self, attempt: DeliveryAttempt) -> None:
        """Add the row of one attempt to `report_delivery_logs`."""
        with self._hub.begin() as connection:
            connection.execute(insert(ReportDeliveryLog).values(_log_row(attempt, self._hub)))

    def history(self, execution_id: str, delivery_id: int) -> DeliveryHistory:
        """What `report_delivery_logs` knows about one delivery of one execution."""
        table = ReportDeliveryLog
        query = select(table.delivery_details).where(
            table.execution_id == execution_id, table.delivery_id == delivery_id
        )
        with self._hub.begin() as connection:
            details = connection.scalars(query).all()
        reached = (r["recipient"] for r in _receipts(details) if r["state"] in {"sent", "unknown"})
        return DeliveryHistory(len(details), frozenset(reached))

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


def _log_row(attempt: DeliveryAttempt, hub: Hub) -> dict[str, Any]:
    sent = sum(receipt.state == "sent" for receipt in attempt.receipts)
    failures = [receipt for receipt in attempt.receipts if receipt.state != "sent"]
    failed = "retry" if attempt.will_retry else "failed"
    status = failed if failures or attempt.error else "success"
    elapsed = attempt.completed_at - attempt.started_at
    return {
        "config_id": attempt.config_id,
        "delivery_id": attempt.delivery_id,
        "schedule_id": attempt.schedule_id,
        "execution_id": attempt.execution_id,
        "status": status,
        "sent_at": rows.to_wall(attempt.started_at, hub.zone),
        "completed_at": rows.to_wall(attempt.completed_at, hub.zone),
        "recipient_count": len(attempt.receipts),
        "success_count": sent,
        "failure_count": len(failures),
        "retry_count": attempt.number - 1,
        "error_message": _failures_text(failures, attempt.error),
        "delivery_details": {"recipients": [_receipt_json(receipt) for receipt in attempt.receipts]},
        "file_size_bytes": attempt.file_size_bytes,
        "processing_time_ms": round(elapsed.total_seconds() * 1000),
    }


def _failures_text(failures: Sequence[DeliveryReceipt], error: str | None) -> str | None:
    lines = [f"{failure.recipient}: {failure.detail}" for failure in failures]
    return "; ".join([*lines, *([error] if error else [])])[:MESSAGE_LIMIT] or None


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
