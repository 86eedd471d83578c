"""The shared database: what a session on it means, and its errors."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from threading import Lock
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Engine, inspect, make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, ProgrammingError

from reporthub_dagster.db.clock import now_of
from reporthub_dagster.db.engine import SETTING, hub_engine
from reporthub_dagster.db.ledger import Lease
from reporthub_dagster.db.upgrade import add_what_is_missing
from reporthub_dagster.reporting.errors import (
    ConfigurationError,
    PermanentError,
    ReportHubError,
    TransientError,
)
from reporthub_dagster.reporting.redaction import redact, secrets_of_url

_MISSING_TABLE = re.compile(
    r"no such table: (\S+)|Table '(\S+)' doesn't exist|relation \"(\S+)\" does not exist"
)
_REFUSED = re.compile(
    r"denied|authentication failed|Unknown database|database \"\S+\" does not exist"
    r"|no such column|Unknown column|unable to open database file|readonly database|is not a database"
)
_TABLES = Lease.metadata
"""The shared tables and our own: `ledger` builds on `models`."""
_kept: list[Hub] = []
_lock = Lock()


class Hub:
    """The shared database: one engine, and errors that say what to do.

    Args:
        url: See `hub_engine`.
        zone: Zone of the wall times in it.
    """

    def __init__(self, url: str, zone: ZoneInfo) -> None:
        self.zone = zone
        self._url = url
        self.engine: Engine = hub_engine(url, zone)

    def is_of(self, url: str, zone: ZoneInfo) -> bool:
        """Whether it is this database, in this zone."""
        return (self._url, self.zone) == (url, zone)

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """One transaction.

        Raises:
            ConfigurationError: The database refuses us, or a table is missing.
            TransientError: It does not answer.
        """
        try:
            with self.engine.begin() as connection:
                yield connection
        except DBAPIError as error:
            raise translated(error, self._url) from None

    def now(self) -> datetime:
        """Now by the database's clock, in UTC, whole seconds: several schedulers and machines agree on it.

        Raises:
            ConfigurationError, TransientError: As `begin`.
        """
        with self.begin() as connection:
            return now_of(connection)

    def create_missing_tables(self) -> list[str]:
        """Create what is absent of the shared tables and our own; returns the names.

        Tables that are there stay as they are, except that our own get the columns and indexes they lack.
        """
        with self.begin() as connection:
            existing = set(inspect(connection).get_table_names())
            missing = [table for table in _TABLES.sorted_tables if table.name not in existing]
            _TABLES.create_all(connection, tables=missing)
            added = add_what_is_missing(connection, _TABLES)
        return [*(table.name for table in missing), *added]

    def close(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()

    def release(self) -> None:
        """Close every pooled connection, unless this process keeps them for what comes next.

        A SQLite file is opened anew each time: that costs nothing, and the file may have been replaced.
        """
        if self not in _kept or self.engine.dialect.name == "sqlite":
            self.close()


def process_hub(url: str, zone: ZoneInfo) -> Hub:
    """The hub of this process: what it has compiled and connected stays from one run to the next."""
    with _lock:
        for hub in _kept:
            if hub.is_of(url, zone):
                return hub
        hub = Hub(url, zone)
        while _kept:
            _kept.pop().close()
        _kept.append(hub)
        return hub


def _in_forked_child() -> None:
    """Forget the parent's connections without closing them: they are still its own."""
    for hub in _kept:
        hub.engine.dispose(close=False)


os.register_at_fork(after_in_child=_in_forked_child)


def is_absent(url: str) -> bool:
    """Whether it is a SQLite file that is not there yet: to open it as a database would make it."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        return False  # the engine says what is wrong with it
    file = parsed.database or ":memory:"
    return parsed.get_backend_name() == "sqlite" and file != ":memory:" and not Path(file).exists()


def translated(error: DBAPIError, url: str) -> ReportHubError:
    """What a person should do about a driver's error on the shared database."""
    words = redact(str(error.orig), secrets_of_url(url)).splitlines()[0]
    missing = _MISSING_TABLE.search(words)
    if missing:
        name = next(group for group in missing.groups() if group)
        return ConfigurationError(
            f"the table {name} does not exist", column=SETTING, valid="create it with: reporthub init"
        )
    column = re.search(
        r"no such column: (\S+)|Unknown column '(\S+)'|column \"?(\S+?)\"? of relation|column (\S+) does not",
        words,
    )
    if column and "reporthub_" in str(error.statement):
        name = next(group for group in column.groups() if group)
        return ConfigurationError(
            f"the column {name} does not exist", column=SETTING, valid="create it with: reporthub init"
        )
    if "Unknown or incorrect time zone" in words:
        return ConfigurationError(
            words,
            column="DB_TIMEZONE",
            valid="load the server's zone tables (mariadb-tzinfo-to-sql, mysql_tzinfo_to_sql)",
        )
    if _REFUSED.search(words) or isinstance(error, ProgrammingError):
        return ConfigurationError(f"the shared database refuses us: {words}", column=SETTING)
    if isinstance(error, (DataError, IntegrityError)):
        return PermanentError(f"the shared database does not take a value: {words}")
    return TransientError(f"the shared database does not answer: {words}")
