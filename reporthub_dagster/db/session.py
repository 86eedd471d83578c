"""The shared database: its one engine factory, what a session on it means, its errors."""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Lock
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url, select
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    DisconnectionError,
    IntegrityError,
    ProgrammingError,
)
from sqlalchemy.pool import ConnectionPoolEntry

from reporthub_dagster.db.clock import utc_ago
from reporthub_dagster.db.ledger import Lease
from reporthub_dagster.db.upgrade import add_what_is_missing
from reporthub_dagster.reporting.errors import (
    ConfigurationError,
    PermanentError,
    ReportHubError,
    TransientError,
)
from reporthub_dagster.reporting.redaction import redact, secrets_of_url

_NAMES = {"mariadb": "mysql", "postgres": "postgresql"}
_DRIVERS = {"mysql": "mysql+pymysql", "postgresql": "postgresql+psycopg"}
_SETTING = "REPORTHUB_DATABASE_URL or DB_*"
_BUSY_SECONDS = 30
_MISSING_TABLE = re.compile(
    r"no such table: (\S+)|Table '(\S+)' doesn't exist|relation \"(\S+)\" does not exist"
)
_REFUSED = re.compile(
    r"denied|authentication failed|Unknown database|database \"\S+\" does not exist"
    r"|no such column|Unknown column|unable to open database file|readonly database|is not a database"
)
_TABLES = Lease.metadata
"""The shared tables and our own: `ledger` builds on `models`."""
_IDLE_SECONDS = 0.1
"""A server that restarts takes longer."""
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
            moment: datetime = connection.execute(select(utc_ago())).scalar_one()
        return moment.replace(tzinfo=UTC, microsecond=0)

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
        """Close every pooled connection, unless this process keeps them for what comes next."""
        if self not in _kept:
            self.close()


def process_hub(url: str, zone: ZoneInfo) -> Hub:
    """The hub of this process, whose connections stay open from one run to the next.

    A SQLite file is opened anew each time: that costs nothing, and the file may have been replaced.
    """
    with _lock:
        for hub in _kept:
            if hub.is_of(url, zone):
                return hub
        hub = Hub(url, zone)
        if hub.engine.dialect.name != "sqlite":
            while _kept:
                _kept.pop().close()
            _kept.append(hub)
        return hub


def _in_forked_child() -> None:
    """Forget the parent's connections without closing them: they are still its own."""
    for hub in _kept:
        hub.engine.dispose(close=False)


os.register_at_fork(after_in_child=_in_forked_child)


def hub_engine(url: str, zone: ZoneInfo) -> Engine:
    """An engine on the shared database whose sessions read and write wall times of `zone`.

    Args:
        url: `mysql://`, `mariadb://`, `postgresql://` or `sqlite:///`, with or without a driver.
        zone: `DB_TIMEZONE`.

    Raises:
        ConfigurationError: The URL is not one of these.
    """
    try:
        parsed = make_url(url)
        dialect = _NAMES.get(parsed.get_backend_name(), parsed.get_backend_name())
    except (ArgumentError, ValueError):
        raise ConfigurationError(
            "not a database URL", column=_SETTING, valid="for example mysql://user:password@host:3306/db"
        ) from None
    if dialect == "sqlite":
        return _sqlite_engine(parsed.set(drivername="sqlite"), parsed.database)
    if dialect not in _DRIVERS:
        raise ConfigurationError(
            "the shared database cannot be of this kind",
            column=_SETTING,
            value=dialect,
            valid="valid: mysql, mariadb, postgresql, sqlite",
        )
    engine = create_engine(parsed.set(drivername=_DRIVERS[dialect]), pool_recycle=1800)
    ping_idle_connections(engine)
    statement, value = _set_zone(dialect, zone)

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(statement, (value,))
        connection.commit()

    return engine


def ping_idle_connections(engine: Engine) -> None:
    """Ask a pooled connection whether it still lives before it is lent, unless it was in use a moment ago.

    `pool_pre_ping` asks each time: a third of all that a run of a second's fraction sends to its database.
    """

    @event.listens_for(engine, "checkin")
    def _note(_connection: Any, record: ConnectionPoolEntry) -> None:
        record.info["idle_since"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def _ask(connection: Any, record: ConnectionPoolEntry, _proxy: Any) -> None:
        if time.monotonic() - record.info.get("idle_since", math.inf) < _IDLE_SECONDS:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise DisconnectionError from error


def translated(error: DBAPIError, url: str) -> ReportHubError:
    """What a person should do about a driver's error on the shared database."""
    words = redact(str(error.orig), secrets_of_url(url)).splitlines()[0]
    missing = _MISSING_TABLE.search(words)
    if missing:
        name = next(group for group in missing.groups() if group)
        return ConfigurationError(
            f"the table {name} does not exist", column=_SETTING, valid="create it with: reporthub init"
        )
    column = re.search(
        r"no such column: (\S+)|Unknown column '(\S+)'|column \"?(\S+?)\"? of relation|column (\S+) does not",
        words,
    )
    if column and "reporthub_" in str(error.statement):
        name = next(group for group in column.groups() if group)
        return ConfigurationError(
            f"the column {name} does not exist", column=_SETTING, valid="create it with: reporthub init"
        )
    if "Unknown or incorrect time zone" in words:
        return ConfigurationError(
            words,
            column="DB_TIMEZONE",
            valid="load the server's zone tables (mariadb-tzinfo-to-sql, mysql_tzinfo_to_sql)",
        )
    if _REFUSED.search(words) or isinstance(error, ProgrammingError):
        return ConfigurationError(f"the shared database refuses us: {words}", column=_SETTING)
    if isinstance(error, (DataError, IntegrityError)):
        return PermanentError(f"the shared database does not take a value: {words}")
    return TransientError(f"the shared database does not answer: {words}")


def _sqlite_engine(url: Any, database: str | None) -> Engine:
    if database and database != ":memory:":
        try:
            Path(database).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"the folder cannot be made: {error.strerror}", column="REPORTHUB_HOME", value=database
            ) from None
    engine = create_engine(url, connect_args={"timeout": _BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        # Readers never wait for a writer; two writers wait for each other instead of failing.
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA foreign_keys = ON")

    return engine


def _set_zone(dialect: str, zone: ZoneInfo) -> tuple[str, str]:
    """The session's zone: by offset on MySQL where that never changes, since its zone tables may be empty."""
    if dialect == "postgresql":
        return "SELECT set_config('TimeZone', %s, false)", zone.key
    return "SET time_zone = %s", _constant_offset(zone) or zone.key


def _constant_offset(zone: ZoneInfo) -> str | None:
    """`+07:00` for a zone whose offset is the same all year round, else None."""
    year = datetime.now(UTC).year
    offsets = {datetime(year, month, 1, tzinfo=zone).utcoffset() for month in range(1, 13)}
    if len(offsets) != 1:
        return None
    minutes = int((offsets.pop() or timedelta()).total_seconds() // 60)
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"
