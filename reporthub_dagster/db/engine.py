"""Engines: one on the shared database, and the pool that sends a server no more than it must."""

from __future__ import annotations

import math
import time
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry, PoolResetState

from reporthub_dagster.reporting.errors import ConfigurationError

SETTING = "REPORTHUB_DATABASE_URL or DB_*"
_NAMES = {"mariadb": "mysql", "postgres": "postgresql"}
_DRIVERS = {"mysql": "mysql+pymysql", "postgresql": "postgresql+psycopg"}
_BUSY_SECONDS = 30
_RECYCLE_SECONDS = 1800
_IDLE_SECONDS = 0.1
"""A server that restarts takes longer."""
_IDLE_SINCE, _IS_CLEAN = "reporthub_idle_since", "reporthub_is_clean"


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
            "not a database URL", column=SETTING, valid="for example mysql://user:password@host:3306/db"
        ) from None
    if dialect == "sqlite":
        return _sqlite_engine(parsed.set(drivername="sqlite"), parsed.database)
    if dialect not in _DRIVERS:
        raise ConfigurationError(
            "the shared database cannot be of this kind",
            column=SETTING,
            value=dialect,
            valid="valid: mysql, mariadb, postgresql, sqlite",
        )
    engine = pooled_engine(parsed.set(drivername=_DRIVERS[dialect]))
    statement, value = _set_zone(dialect, zone)

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(statement, (value,))
        connection.commit()

    return engine


def pooled_engine(url: str | URL, **options: Any) -> Engine:
    """An engine whose pool asks the server no more than it must; a run of a second's fraction has 60 events.

    A connection is asked whether it still lives before it is lent, unless it was in use a moment ago
    (`pool_pre_ping` asks each time). When it comes back it is rolled back, unless the last thing done with it
    was to commit a transaction: then nothing is open. After a commit that fails SQLAlchemy rolls back itself.

    Args:
        url: With a driver.
        options: More for `sqlalchemy.create_engine`.
    """
    engine = create_engine(url, pool_recycle=_RECYCLE_SECONDS, pool_reset_on_return=None, **options)
    if engine.dialect.name == "mysql":
        _isolate_as_mysql_does(engine)

    @event.listens_for(engine, "checkout")
    def _ask(connection: Any, record: ConnectionPoolEntry, _proxy: Any) -> None:
        record.info[_IS_CLEAN] = False
        if time.monotonic() - record.info.get(_IDLE_SINCE, -math.inf) < _IDLE_SECONDS:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise DisconnectionError from error

    @event.listens_for(engine, "checkin")
    def _note(_connection: Any, record: ConnectionPoolEntry) -> None:
        record.info[_IDLE_SINCE] = time.monotonic()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.info[_IS_CLEAN] = False

    @event.listens_for(engine, "commit")
    def _commit(connection: Connection) -> None:
        connection.info[_IS_CLEAN] = True

    @event.listens_for(engine, "reset")
    def _reset(connection: Any, record: ConnectionPoolEntry, state: PoolResetState) -> None:
        if not (state.terminate_only or state.transaction_was_reset or record.info.get(_IS_CLEAN)):
            engine.dialect.do_rollback(connection)

    return engine


def _isolate_as_mysql_does(engine: Engine) -> None:
    """Have MariaDB 11.6 and later neither wait for rows that a statement passes by nor refuse newer ones."""

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        unknown = engine.dialect.loaded_dbapi.Error  # elsewhere, and the connection is as good as before
        with closing(connection.cursor()) as cursor, suppress(unknown):
            cursor.execute("SET innodb_snapshot_isolation = OFF")


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
