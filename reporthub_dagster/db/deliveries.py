"""The ledger: what became of every recipient, written before the first byte and after the answer.

A recipient goes from `pending` to `sending` to `sent`, `refused`, `retry` or `unknown`. The step to `sending`
is fenced: it happens only while the caller's claim is the latest, in the same statement.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, exists, func, select, update

from reporthub_dagster.db.claims import NOT_WAITING, Claim, fence_of, lost, require_claim
from reporthub_dagster.db.clock import utc_ago
from reporthub_dagster.db.inserting import chunks, insert_many_new
from reporthub_dagster.db.ledger import LedgerEntry
from reporthub_dagster.db.ledger_entries import (
    Entry,
    LedgerState,
    entries_of,
    entry_of,
    of_delivery,
    select_entries,
)
from reporthub_dagster.db.session import Hub
from reporthub_dagster.reporting.identity import delivery_identity
from reporthub_dagster.reporting.records import DeliveryReceipt

UNANSWERED = "the run ended before the answer came"


@dataclass(frozen=True, slots=True)
class History:
    """What an installation without this ledger knew of a delivery: who has the file, and who may have it."""

    sent: frozenset[str] = frozenset()
    unknown: frozenset[str] = frozenset()

    def state_of(self, recipient: str) -> LedgerState:
        """What the ledger begins with."""
        return "sent" if recipient in self.sent else "unknown" if recipient in self.unknown else "pending"


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
            "sent_at": utc_ago(),
            **NOT_WAITING,
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
    ) -> dict[str, Entry]:
        """Give every `retry` its time, `interval_seconds` for each attempt it had; none after the last.

        Args:
            claim: The right to.
            delivery_id: Which delivery.
            most: Further attempts that a recipient may have.
            interval_seconds: As the row says.
            not_before: Recipient → seconds for which the other side wants to be left alone.

        Returns:
            Recipient → entry, as it is now.

        Raises:
            LostClaimError: The claim is no longer the latest.
        """
        table = LedgerEntry
        open_ = (
            *of_delivery(claim.execution_id, delivery_id),
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
            return entries_of(connection, claim.execution_id, delivery_id)

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
                update(table).where(*chosen).values(state="pending", attempts=0, **NOT_WAITING)
            )

    def entries(self, execution_id: str, delivery_id: int) -> dict[str, Entry]:
        """Recipient → what is known, of one delivery."""
        with self._hub.begin() as connection:
            return entries_of(connection, execution_id, delivery_id)

    def of_execution(self, execution_id: str) -> list[Entry]:
        """Everybody, by delivery."""
        query = select_entries(LedgerEntry.execution_id == execution_id)
        with self._hub.begin() as connection:
            found = connection.execute(query.order_by(LedgerEntry.delivery_id, LedgerEntry.recipient))
            return [entry_of(row) for row in found.mappings().all()]

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
    left = (*of_delivery(execution_id, delivery_id), LedgerEntry.state == "sending", *mine)
    values = {"state": state, "detail": UNANSWERED, "answered_at": utc_ago()}
    connection.execute(update(LedgerEntry).where(*left).values(values))
