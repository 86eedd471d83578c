"""What the ledger says of each recipient, read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import Connection, RowMapping, and_, case, or_, select

from reporthub_dagster.db import rows
from reporthub_dagster.db.clock import utc_ago
from reporthub_dagster.db.ledger import LedgerEntry

LedgerState = Literal["pending", "sending", "sent", "refused", "retry", "unknown"]


@dataclass(frozen=True, slots=True)
class Entry:
    """What the ledger knows of one recipient.

    Attributes:
        attempts: How often it was tried since a person last started anew.
        detail: The last answer, in one redacted line.
        at: When that came.
        next_attempt_at: When it is due again; only of `retry`, and None while a run is still at it.
        waits_for: Server that was away when its turn came.
        is_due: It is `pending`, or `retry` and its time has come, by the database's clock.
    """

    delivery_id: int
    recipient: str
    state: LedgerState
    attempts: int
    detail: str
    at: datetime | None
    next_attempt_at: datetime | None
    waits_for: str | None
    is_due: bool


def of_delivery(execution_id: str, delivery_id: int) -> tuple[Any, Any]:
    """The entries of one delivery of an execution."""
    return LedgerEntry.execution_id == execution_id, LedgerEntry.delivery_id == delivery_id


def entries_of(connection: Connection, execution_id: str, delivery_id: int) -> dict[str, Entry]:
    """Recipient → what is known, of one delivery."""
    found = connection.execute(select_entries(*of_delivery(execution_id, delivery_id))).mappings().all()
    return {entry.recipient: entry for entry in map(entry_of, found)}


def select_entries(*where: Any) -> Any:
    """A query of entries, for `entry_of`."""
    table = LedgerEntry
    time_has_come = or_(table.next_attempt_at.is_(None), table.next_attempt_at <= utc_ago())
    is_due = or_(table.state == "pending", and_(table.state == "retry", time_has_come))
    columns = (table.delivery_id, table.recipient, table.state, table.attempts, table.detail)
    times = (table.answered_at, table.next_attempt_at, table.waits_for)
    return select(*columns, *times, case((is_due, 1), else_=0).label("is_due")).where(*where)


def entry_of(row: RowMapping) -> Entry:
    """An entry of a row of `select_entries`."""
    return Entry(
        delivery_id=row["delivery_id"],
        recipient=row["recipient"],
        state=row["state"],
        attempts=row["attempts"],
        detail=row["detail"] or "",
        at=rows.from_utc(row["answered_at"]),
        next_attempt_at=rows.from_utc(row["next_attempt_at"]),
        waits_for=row["waits_for"],
        is_due=bool(row["is_due"]),
    )


def log_details(entries: Iterable[Entry], zone: Any = UTC) -> list[dict[str, str]]:
    """Entries as `report_delivery_logs.delivery_details` has receipts."""
    return [
        {
            "recipient": entry.recipient,
            "state": entry.state,
            "detail": entry.detail,
            "at": entry.at.astimezone(zone).isoformat() if entry.at else "",
        }
        for entry in entries
    ]
