"""Who has been told that a report fails or is late: once an hour at the most, and of its recovery once."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, or_, update

from reporthub_dagster.db.clock import utc_ago
from reporthub_dagster.db.inserting import insert_many_new, insert_new
from reporthub_dagster.db.ledger import LateNotice, Notice
from reporthub_dagster.db.session import Hub

PAUSE_SECONDS = 3600.0


class Notices:
    """The notices of the shared database; of many who want to tell the same, one may."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def may_tell_trouble(self, config_id: int) -> bool:
        """Whether the caller is to tell; from now on nobody else is for an hour."""
        told = update(Notice).where(Notice.config_id == config_id, may_be_told())
        with self._hub.begin() as connection:
            insert_new(connection, Notice, {"config_id": config_id, "is_failing": False})
            return connection.execute(told.values(told_at=utc_ago())).rowcount == 1

    def recovery_is_due(self, config_id: int) -> None:
        """People know of the trouble: they are to be told when it is over."""
        known = update(Notice).where(Notice.config_id == config_id)
        with self._hub.begin() as connection:
            connection.execute(known.values(is_failing=True))

    def may_tell_recovery(self, config_id: int) -> bool:
        """Whether the caller is to tell that the trouble which was told is over."""
        failing = update(Notice).where(Notice.config_id == config_id, Notice.is_failing)
        with self._hub.begin() as connection:
            return connection.execute(failing.values(is_failing=False)).rowcount == 1

    def late_is_told(self, execution_ids: Sequence[str]) -> None:
        """Nobody is to be told any more that these are late; one at least, a hundred at the most."""
        with self._hub.begin() as connection:
            insert_many_new(connection, LateNotice, [{"execution_id": each} for each in execution_ids])

    def not_told(self, config_id: int) -> None:
        """The notice of trouble could not be sent: the next one may be. What was told before stays told."""
        untold = update(Notice).where(Notice.config_id == config_id)
        with self._hub.begin() as connection:
            connection.execute(untold.values(told_at=None))


def may_be_told() -> ColumnElement[bool]:
    """Whether nobody was told of a report within the last hour."""
    return or_(Notice.told_at.is_(None), Notice.told_at <= utc_ago(PAUSE_SECONDS))
