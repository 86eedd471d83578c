"""The ledger: what became of every recipient, written before the first byte and after the answer.

A recipient goes from `pending` to `sending` to `sent`, `refused`, `retry` or `unknown`. The step to `sending`
is fenced: it happens only while the caller's claim is the latest, in the same statement.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import Connection, RowMapping, and_, case, exists, func, or_, select, update

from reporthub_dagster.db import rows
from reporthub_dagster.db.clock import utc_ago
from reporthub_dagster.db.executions import WAITING, Claim, fence_of, lost, require_claim
from reporthub_dagster.db.inserting import chunks, insert_many_new
from reporthub_dagster.db.ledger import Lease, LedgerEntry
from reporthub_dagster.db.models import ReportExecution
from reporthub_dagster.db.session import Hub
from reporthub_dagster.reporting.identity import delivery_identity
from reporthub_dagster.reporting.records import DeliveryReceipt

LedgerState = Literal["pending", "sending", "sent", "refused", "retry", "unknown"]
UNANSWERED = "the run ended before the answer came"
SETTLED = ("sent", "unknown")
"""States that no run ever leaves by itself."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What the ledger knows of one recipient.

    Attributes:
        attempts: How often it was tried since a person last started anew.
        detail: The last answer, in one redacted line.
        at: When that came.
        next_attempt_at: When it is due again; only of `retry`, and None while a run is still at it.
        is_due: It is `pending`, or `retry` and its time has come, by the database's clock.
    """

    delivery_id: int
    recipient: str
    state: LedgerState
    attempts: int
    detail: str
    at: datetime | None
    next_attempt_at: datetime | None
    is_due: bool


@dataclass(frozen=True, slots=True)
class History:
    """What an installation without this ledger knew of a delivery: who has the file, and who may have it."""

    sent: frozenset[str] = frozenset()
    unknown: frozenset[str] = frozenset()

    def state_of(self, recipient: str) -> LedgerState:
        """What the ledger begins with."""
        return "sent" if recipient in self.sent else "unknown" if recipient in self.unknown else "pending"


@dataclass(frozen=True, slots=True)
class DueExecution:
    """An execution that waits for a retry whose time has come.

    Attributes:
        token: Of its lease; grows with every run that takes it.
        late_seconds: How long ago the first of its recipients was due.
    """

    execution_id: str
    config_id: int
    schedule_id: int | None
    executed_by: str
    token: int
    late_seconds: float


class DeliveryLedger:
    """The ledger of the shared database."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def open(
        self,
        claim: Claim,
        delivery_id: int,
        recipients: Collection[str],
        *,
        unanswered: Literal["pending", "unknown"],
        history: Callable[[], History] = History,
    ) -> dict[str, Entry]:
        """Write a `pending` entry for every recipient that has none, and settle what a dead run left.

        Args:
            claim: The right to.
            delivery_id: Which delivery.
            recipients: Whom it shall reach.
            unanswered: What a leftover `sending` becomes; `pending` only where sending again leaves one
                and the same thing there.
            history: Asked when the ledger does not know the delivery: an earlier release may have sent.

        Returns:
            Recipient → entry, also of those that are no longer wanted.

        Raises:
            LostClaimError: The claim is no longer the latest.
        """
        known = self.entries(claim.execution_id, delivery_id)
        earlier = History() if known else history()
        new = [
            _first_values(claim, delivery_id, recipient, earlier.state_of(recipient))
            for recipient in recipients
            if recipient not in known
        ]
        with self._hub.begin() as connection:
            require_claim(connection, claim)
            for portion in chunks(new):
                insert_many_new(connection, LedgerEntry, portion)
            _settle(connection, claim.execution_id, delivery_id, unanswered)
        return self.entries(claim.execution_id, delivery_id) if new or known else {}

    def begin(self, claim: Claim, delivery_id: int, recipient: str, *, counted: bool = True) -> None:
        """Write that the file goes to a recipient now; one statement, which is also the fence.

        Args:
            claim: The right to send.
            delivery_id: Which delivery.
            recipient: To whom.
            counted: Whether it is a further attempt, or another try within one.

        Raises:
            LostClaimError: The claim is no longer the latest, or somebody else has dealt with the recipient.
        """
        identity = delivery_identity(claim.execution_id, delivery_id, recipient)
        free = (LedgerEntry.identity == identity, LedgerEntry.state.in_(("pending", "retry")))
        values = {
            "state": "sending",
            "token": claim.token,
            "attempts": LedgerEntry.attempts + int(counted),
            "next_attempt_at": None,
            "sent_at": utc_ago(),
        }
        statement = update(LedgerEntry).where(*free, exists().where(*fence_of(claim))).values(values)
        with self._hub.begin() as connection:
            if connection.execute(statement).rowcount != 1:
                raise lost(claim)

    def answer(self, claim: Claim, receipt: DeliveryReceipt) -> None:
        """Write what became of it.

        An answer is a fact, whoever holds the execution by now; the token keeps it from covering a later
        attempt.
        """
        identity = delivery_identity(claim.execution_id, receipt.delivery_id, receipt.recipient)
        mine = (
            LedgerEntry.identity == identity,
            LedgerEntry.token == claim.token,
            LedgerEntry.state.in_(("sending", "unknown")),
        )
        values = {"state": receipt.state, "detail": receipt.detail, "answered_at": utc_ago()}
        with self._hub.begin() as connection:
            connection.execute(update(LedgerEntry).where(*mine).values(values))

    def settle(self, claim: Claim, delivery_id: int) -> None:
        """Close what this run leaves without an answer."""
        with self._hub.begin() as connection:
            _settle(connection, claim.execution_id, delivery_id, "unknown", LedgerEntry.token == claim.token)

    def schedule(
        self,
        claim: Claim,
        delivery_id: int,
        *,
        most: int,
        interval_seconds: float,
        not_before: Mapping[str, float] | None = None,
    ) -> None:
        """Give every `retry` its time, `interval_seconds` for each attempt it had; none after the last.

        Args:
            claim: The right to.
            delivery_id: Which delivery.
            most: Further attempts that a recipient may have.
            interval_seconds: As the row says.
            not_before: Recipient → seconds for which the other side wants to be left alone.

        Raises:
            LostClaimError: The claim is no longer the latest.
        """
        table = LedgerEntry
        open_ = (
            *_of(claim.execution_id, delivery_id),
            table.state == "retry",
            table.next_attempt_at.is_(None),
            table.attempts <= most,
        )
        with self._hub.begin() as connection:
            require_claim(connection, claim)
            for attempts in connection.scalars(select(table.attempts).where(*open_).distinct()).all():
                moment = utc_ago(-interval_seconds * max(attempts, 1))
                of_attempt = update(table).where(*open_, table.attempts == attempts)
                connection.execute(of_attempt.values(next_attempt_at=moment))
            for recipient, seconds in (not_before or {}).items():
                identity = delivery_identity(claim.execution_id, delivery_id, recipient)
                later = utc_ago(-seconds)
                too_soon = (table.identity == identity, table.next_attempt_at < later)
                connection.execute(update(table).where(*too_soon).values(next_attempt_at=later))

    def reopen(
        self, claim: Claim, *, delivery_id: int | None, recipient: str | None, include_unknown: bool
    ) -> None:
        """A person wants those who have not got it tried anew, also those who refused.

        Raises:
            LostClaimError: The claim is no longer the latest.
        """
        table = LedgerEntry
        states = ("refused", "retry", "unknown") if include_unknown else ("refused", "retry")
        chosen = [table.execution_id == claim.execution_id, table.state.in_(states)]
        if delivery_id is not None:
            chosen.append(table.delivery_id == delivery_id)
        if recipient is not None:
            chosen.append(func.lower(table.recipient) == recipient.lower())
        with self._hub.begin() as connection:
            require_claim(connection, claim)
            connection.execute(
                update(table).where(*chosen).values(state="pending", attempts=0, next_attempt_at=None)
            )

    def entries(self, execution_id: str, delivery_id: int) -> dict[str, Entry]:
        """Recipient → what is known, of one delivery."""
        with self._hub.begin() as connection:
            found = connection.execute(_select_entries(*_of(execution_id, delivery_id))).mappings().all()
        return {entry.recipient: entry for entry in map(_entry, found)}

    def of_execution(self, execution_id: str) -> list[Entry]:
        """Everybody, by delivery."""
        query = _select_entries(LedgerEntry.execution_id == execution_id)
        with self._hub.begin() as connection:
            found = connection.execute(query.order_by(LedgerEntry.delivery_id, LedgerEntry.recipient))
            return [_entry(row) for row in found.mappings().all()]

    def receipts(self, execution_id: str) -> list[dict[str, Any]]:
        """Everybody, as programs read it."""
        return [
            {
                "delivery_id": entry.delivery_id,
                "recipient": entry.recipient,
                "state": entry.state,
                "detail": entry.detail,
                "at": entry.at.isoformat() if entry.at else None,
                "attempts": entry.attempts,
                "next_attempt_at": entry.next_attempt_at.isoformat() if entry.next_attempt_at else None,
            }
            for entry in self.of_execution(execution_id)
        ]

    def due(self, limit: int) -> list[DueExecution]:
        """Executions that wait and whose time has come, the one that has waited longest first."""
        execution = ReportExecution
        first = func.min(LedgerEntry.next_attempt_at)
        who = (execution.id, execution.config_id, execution.schedule_id, execution.executed_by, Lease.token)
        query = (
            select(*who, first.label("first"), utc_ago().label("now"))
            .join(Lease, Lease.execution_id == LedgerEntry.execution_id)
            .join(execution, execution.id == LedgerEntry.execution_id)
            .where(
                LedgerEntry.next_attempt_at <= utc_ago(),
                Lease.run_id == WAITING,
                execution.status == "running",
            )
            .group_by(*who)
            .order_by(first, execution.id)
            .limit(limit)
        )
        with self._hub.begin() as connection:
            found = connection.execute(query).all()
        return [
            DueExecution(
                execution_id=row.id,
                config_id=row.config_id,
                schedule_id=row.schedule_id,
                executed_by=row.executed_by,
                token=row.token,
                late_seconds=(row.now - row.first).total_seconds(),
            )
            for row in found
        ]


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


def _first_values(claim: Claim, delivery_id: int, recipient: str, state: LedgerState) -> dict[str, Any]:
    return {
        "identity": delivery_identity(claim.execution_id, delivery_id, recipient),
        "execution_id": claim.execution_id,
        "delivery_id": delivery_id,
        "recipient": recipient,
        "state": state,
        "attempts": 0,
        "token": claim.token,
    }


def _settle(
    connection: Connection, execution_id: str, delivery_id: int, state: LedgerState, *mine: Any
) -> None:
    """A `sending` that nobody is at any more; the token stays, so that a late answer still counts."""
    left = (*_of(execution_id, delivery_id), LedgerEntry.state == "sending", *mine)
    values = {"state": state, "detail": UNANSWERED, "answered_at": utc_ago()}
    connection.execute(update(LedgerEntry).where(*left).values(values))


def _of(execution_id: str, delivery_id: int) -> tuple[Any, Any]:
    return LedgerEntry.execution_id == execution_id, LedgerEntry.delivery_id == delivery_id


def _select_entries(*where: Any) -> Any:
    table = LedgerEntry
    time_has_come = or_(table.next_attempt_at.is_(None), table.next_attempt_at <= utc_ago())
    is_due = or_(table.state == "pending", and_(table.state == "retry", time_has_come))
    columns = (table.delivery_id, table.recipient, table.state, table.attempts, table.detail)
    times = (table.answered_at, table.next_attempt_at)
    return select(*columns, *times, case((is_due, 1), else_=0).label("is_due")).where(*where)


def _entry(row: RowMapping) -> Entry:
    return Entry(
        delivery_id=row["delivery_id"],
        recipient=row["recipient"],
        state=row["state"],
        attempts=row["attempts"],
        detail=row["detail"] or "",
        at=rows.from_utc(row["answered_at"]),
        next_attempt_at=rows.from_utc(row["next_attempt_at"]),
        is_due=bool(row["is_due"]),
    )
