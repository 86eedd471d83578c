"""Which schedulers tick: each sensor says so after every tick, by the database's clock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import select, update

from reporthub_dagster.db.clock import utc_ago
from reporthub_dagster.db.inserting import insert_new
from reporthub_dagster.db.ledger import SchedulerTick
from reporthub_dagster.db.session import Hub


@dataclass(frozen=True, slots=True)
class LastTick:
    """When a sensor of a scheduler ticked last.

    Attributes:
        message: What came of it, in one line.
    """

    scheduler: str
    sensor: str
    at: datetime
    message: str


class Schedulers:
    """The schedulers that have ticked lately."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def ticked(self, scheduler: str, sensor: str, message: str) -> None:
        """Say that a tick came to its end.

        Raises:
            ConfigurationError, TransientError: The database does not do its work.
        """
        table = SchedulerTick
        same = (table.scheduler == scheduler, table.sensor == sensor)
        values = {"ticked_at": utc_ago(), "message": message}
        with self._hub.begin() as connection:
            if connection.execute(update(table).where(*same).values(values)).rowcount == 0:
                insert_new(connection, table, {"scheduler": scheduler, "sensor": sensor, **values})

    def last_ticks(self) -> list[LastTick]:
        """Of each sensor of each scheduler the last one, the latest first."""
        table = SchedulerTick
        query = select(table.scheduler, table.sensor, table.ticked_at, table.message)
        with self._hub.begin() as connection:
            found = connection.execute(query.order_by(table.ticked_at.desc())).all()
        return [LastTick(row[0], row[1], row[2].replace(tzinfo=UTC), row[3] or "") for row in found]
