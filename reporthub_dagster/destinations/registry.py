"""The ways to deliver, by the words of `report_deliveries.method`."""

from __future__ import annotations

from reporthub_dagster.destinations.base import Destination
from reporthub_dagster.plugins import Entry, Registry

DESTINATIONS: Registry[Destination] = Registry(
    "destination",
    base="reporthub_dagster.destinations.base:Destination",
    word="method",
    table="report_deliveries",
    column="method",
    entries={
        "email": Entry("reporthub_dagster.destinations.email:EmailDestination"),
        "sftp": Entry("reporthub_dagster.destinations.sftp:SftpDestination", extra="sftp"),
        "webhook": Entry("reporthub_dagster.destinations.webhook:WebhookDestination"),
        "s3": Entry("reporthub_dagster.destinations.s3:S3Destination", extra="s3"),
        "file_share": Entry("reporthub_dagster.destinations.file_share:FileShareDestination"),
    },
)
