"""The circuit breakers of the servers that one delivery goes to: who may be tried, and what it teaches."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from reporthub_dagster.db.circuits import Admission, Away, Circuits
from reporthub_dagster.db.ledger import SERVER_LENGTH
from reporthub_dagster.db.ledger_entries import Entry
from reporthub_dagster.destinations.base import Destination
from reporthub_dagster.reporting.records import DeliveryReceipt


class Breaker:
    """Asks for each server of a destination once, and says what became of it.

    Args:
        circuits: The breakers of the shared database.
        destination: Knows the server of a recipient.
        say: Receives one line for the log.
        insists: A person asks for this delivery: also a server that is away is tried.
    """

    def __init__(
        self,
        circuits: Circuits,
        destination: Destination,
        say: Callable[[str], object],
        *,
        insists: bool = False,
    ) -> None:
        self._circuits = circuits
        self._destination = destination
        self._say = say
        self._insists = insists
        self._admissions: dict[str, Admission] = {}

    def release_moved(self, entries: Iterable[Entry]) -> None:
        """Where the row names another server than somebody waited for, nobody need wait for that one."""
        waited = {(entry.waits_for, self._server(entry.recipient)) for entry in entries}
        for server in {old for old, new in waited if old and old != new}:
            self._circuits.moved(server, self._destination.delivery.id)

    def away(self, recipients: Iterable[str]) -> dict[str, Away]:
        """Those whose server is to be left alone, and how it stands."""
        asked = {name: self._admission(name) for name in recipients}
        return {name: admission.away for name, admission in asked.items() if admission and admission.away}

    def heard(self, receipt: DeliveryReceipt) -> None:
        """What was sent proves that its server is there, long before the last recipient is reached."""
        if receipt.state == "sent":
            self._answered(receipt)

    def settle(self, receipts: Iterable[DeliveryReceipt]) -> None:
        """After an attempt: what its receipts, in their order, say of each server in the end.

        Not every receipt comes from the server: a recipient whose row is wrong proves nothing.
        """
        last: dict[str | None, DeliveryReceipt] = {}
        for receipt in receipts:
            server = self._server(receipt.recipient)
            if receipt.unreachable or receipt.state == "sent" or server not in last:
                last[server] = receipt
        for receipt in last.values():
            if receipt.unreachable:
                self._failed(receipt)
            else:
                self._answered(receipt)

    def _answered(self, receipt: DeliveryReceipt) -> None:
        admission = self._admission(receipt.recipient)
        if admission is None or not admission.is_known:
            return
        released = self._circuits.answered(admission.server)
        self._admissions[admission.server] = replace(admission, is_known=False)
        if released or admission.is_probe:
            self._say(f"{admission.server} answers again; {released:,} recipients who waited for it are due")

    def _failed(self, receipt: DeliveryReceipt) -> None:
        admission = self._admission(receipt.recipient)
        away = self._circuits.failed(admission, receipt.detail) if admission else None
        if away is not None:
            self._say(f"{away}. It is left alone until {away.probe_at:%H:%M:%S} UTC")

    def _admission(self, recipient: str) -> Admission | None:
        server = self._server(recipient)
        if server is None:
            return None
        if server not in self._admissions:
            self._admissions[server] = self._circuits.admit(server, insists=self._insists)
        return self._admissions[server]

    def _server(self, recipient: str) -> str | None:
        server = self._destination.server_of(recipient)
        return server and server[:SERVER_LENGTH]
