"""Who has been told that a report fails: once an hour at the most, and of its recovery once."""

from __future__ import annotations

from sqlalchemy import or_, update

from reporthub_dagster.db.clock import utc_ago
from reporthub_dagster.db.inserting import insert_new
from reporthub_dagster.db.ledger import Notice
from reporthub_dagster.db.session import Hub

PAUSE_SECONDS = 3600.0


class Notices:
    """The notices of the shared database; of many who want to tell the same, one may."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def may_tell_failure(self, config_id: int) -> bool:
        """Whether the caller is to tell; from now on nobody else is for an hour."""
        long_ago = or_(Notice.told_at.is_(None), Notice.told_at <= utc_ago(PAUSE_SECONDS))
        told = update(Notice).where(Notice.config_id == config_id, long_ago)
        with self._hub.begin() as connection:
            insert_new(connection, Notice, {"config_id": config_id, "is_failing": False})
            return connection.execute(told.values(told_at=utc_ago(), is_failing=True)).rowcount == 1

    def may_tell_recovery(self, config_id: int) -> bool:
        """Whether the caller is to tell that a failure which was told is over."""
        failing = update(Notice).where(Notice.config_id == config_id, Notice.is_failing)
        with self._hub.begin() as connection:
            return connection.execute(failing.values(is_failing=False)).rowcount == 1

    def not_told(self, config_id: int) -> None:
        """The notice of a failure could not be sent: the next one may be."""
        untold = update(Notice).where(Notice.config_id == config_id)
        with self._hub.begin() as connection:
            connection.execute(untold.values(told_at=None, is_failing=False))
