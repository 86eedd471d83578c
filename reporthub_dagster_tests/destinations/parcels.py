"""Deliveries and parcels for tests of destinations."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from reporthub_dagster.destinations.base import Destination, Parcel
from reporthub_dagster.reporting.records import Delivery, DeliveryReceipt, Recipient, RenderedFile

VARIABLES = {
    "report_name": "Flights & <Delays>",
    "start_datetime": "2013-01-01 00:00:00",
    "end_datetime": "2013-01-02 00:00:00",
    "start_date": "2013-01-01",
}


def delivery(
    method: str, options: Mapping[str, Any], *recipients: str, row: int = 7, kind: str = "email"
) -> Delivery:
    """A row of `report_deliveries`; its recipients are rows 100, 101, …"""
    rows = tuple(Recipient(100 + n, kind, value, {}) for n, value in enumerate(recipients))
    return Delivery(row, 1, "To the team", method, options, 3, 5, rows)


def rendered(folder: Path, name: str = "flights.csv", content: bytes = b"a,b\r\n1,2\r\n") -> RenderedFile:
    """A finished file."""
    path = folder / name
    path.write_bytes(content)
    return RenderedFile(path, name, "csv", "text/csv", len(content), sha256(content).hexdigest(), 1234)


def parcel(*files: RenderedFile, execution_id: str = "e-1", **variables: str) -> Parcel:
    """A parcel with the usual variables."""
    return Parcel(execution_id, files, {**VARIABLES, **variables})


def states(receipts: list[DeliveryReceipt]) -> dict[str, str]:
    """Recipient → state; there is one receipt for each."""
    assert len({receipt.recipient for receipt in receipts}) == len(receipts)
    return {receipt.recipient: receipt.state for receipt in receipts}


def send_all(destination: Destination, what: Parcel) -> list[DeliveryReceipt]:
    """Send to everybody."""
    return list(destination.send(what, destination.recipients()))
