"""What was delivered last of a report, as a digest of its rows: for reports that go out when they change."""

from __future__ import annotations

from sqlalchemy import select, update

from reporthub_dagster.db.clock import utc_ago
from reporthub_dagster.db.inserting import insert_new
from reporthub_dagster.db.ledger import DeliveredDigest
from reporthub_dagster.db.session import Hub


class Digests:
    """The digests of the shared database."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def last(self, config_id: int) -> str | None:
        """Of what was delivered last, or None where nothing was."""
        with self._hub.begin() as connection:
            query = select(DeliveredDigest.digest).where(DeliveredDigest.config_id == config_id)
            return connection.scalar(query)

    def delivered(self, config_id: int, digest: str) -> None:
        """Everybody has these rows now."""
        table = DeliveredDigest
        with self._hub.begin() as connection:
            insert_new(connection, table, {"config_id": config_id, "digest": digest})
            values = {"digest": digest, "delivered_at": utc_ago()}
            connection.execute(update(table).where(table.config_id == config_id).values(values))
