"""The keys of machines that deliveries have connected to, kept in `reporthub_host_keys`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from datetime import datetime

from sqlalchemy import select

from reporthub_dagster.db.inserting import insert_new
from reporthub_dagster.db.ledger import PinnedHostKey
from reporthub_dagster.db.session import Hub
from reporthub_dagster.reporting.host_keys import HostKeys


class PinnedHostKeys(HostKeys):
    """Reads and writes them; host names count in small letters.

    Args:
        connect: Opens the shared database; it is closed after each question, which are few.
    """

    def __init__(self, connect: Callable[[], Hub]) -> None:
        self._connect = connect

    def find(self, host: str, port: int) -> str | None:
        """The key that was kept first."""
        statement = select(PinnedHostKey.host_key).where(
            PinnedHostKey.host == host.lower(), PinnedHostKey.port == port
        )
        with closing(self._connect()) as hub, hub.begin() as connection:
            found: str | None = connection.execute(statement).scalar()
        return found

    def pin(self, host: str, port: int, key: str, now: datetime) -> str:
        """Of two processes that come at the same time, one keeps its key and both get that one."""
        row = {"host": host.lower(), "port": port, "host_key": key, "pinned_at": now}
        with closing(self._connect()) as hub, hub.begin() as connection:
            insert_new(connection, PinnedHostKey, row)
        return self.find(host, port) or key
