"""SQLite files, opened read-only."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any, ClassVar
from urllib.parse import quote

from reporthub_dagster.connectors.base import QueryLimits, refused, timed_out
from reporthub_dagster.connectors.database_files import database_file
from reporthub_dagster.connectors.sql import QueryTimedOptions, SQLConnector, writable_file
from reporthub_dagster.connectors.sqlite_stream import SQLiteStream
from reporthub_dagster.reporting.errors import PermanentError, ReportHubError, TransientError

_FILE = ("SQLITE_CANTOPEN", "SQLITE_NOTADB", "SQLITE_PERM", "SQLITE_AUTH")
_TRY_AGAIN = (
    "SQLITE_BUSY",
    "SQLITE_LOCKED",
    "SQLITE_IOERR",
    "SQLITE_FULL",
    "SQLITE_NOMEM",
    "SQLITE_PROTOCOL",
)


class SQLiteOptions(QueryTimedOptions):
    """Options of a SQLite file; those of SQLite's URI, and `connect_timeout` for waiting on a lock."""

    timeout: float | None = None
    mode: Any = None
    uri: Any = None
    check_same_thread: Any = None
    immutable: bool = False
    nolock: bool = False
    vfs: str | None = None
    cache: str | None = None


class SQLiteConnector(SQLConnector[SQLiteOptions]):
    """A SQLite database file."""

    kind = "sqlite"
    dialect = "sqlite"
    schemes = frozenset({"sqlite"})
    options_model = SQLiteOptions
    driver_errors: ClassVar = (sqlite3.Error, sqlite3.Warning, OverflowError)

    def connect(self, limits: QueryLimits) -> SQLiteStream:
        """See `SQLConnector.connect`."""
        return SQLiteStream(self, limits, self.connection(limits.remaining_seconds))

    def connection(self, seconds: float) -> sqlite3.Connection:
        """A new connection that can write nothing, attach nothing, and waits `seconds` for a lock."""
        named = str(self._url.database or "").removeprefix("file:")
        name = database_file(named, self.settings, "SQLite", self.source.id)
        options = self._options
        given = {"immutable": int(options.immutable), "nolock": int(options.nolock)}
        given |= {key: value for key in ("vfs", "cache") if (value := getattr(options, key))}
        arguments = "".join(f"&{key}={quote(str(value))}" for key, value in given.items() if value)
        connection = sqlite3.connect(
            f"file:{quote(str(name))}?mode=ro{arguments}",
            uri=True,
            timeout=min(options.timeout or options.connect_timeout, seconds),
            isolation_level=None,
        )
        connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        return connection

    def explain(self, error: Exception, limits: QueryLimits) -> ReportHubError:
        """See `SQLConnector.explain`; names are of https://www.sqlite.org/rescode.html."""
        name = getattr(error, "sqlite_errorname", "")
        words = self.plain(error)
        if name == "SQLITE_INTERRUPT":
            return timed_out(limits)
        if name.startswith(_FILE):
            return self.misconfigured(
                f"the file cannot be used: {words}",
                valid="give the path of a SQLite file that this user may read",
            )
        if name.startswith(_TRY_AGAIN):
            return TransientError(f"the database could not finish the query now: {words}")
        undecodable, _, _ = words.partition(" with text ")
        if undecodable != words and undecodable.startswith("Could not decode to UTF-8"):
            return PermanentError(f"{undecodable}: repair the data, or select hex() of it instead")
        return refused(words)

    def version(self, limits: QueryLimits) -> str:
        """See `SQLConnector.version`."""
        with closing(self.connection(limits.remaining_seconds)) as connection, self.timing():
            connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
        return f"SQLite {sqlite3.sqlite_version}"

    def grants(self, limits: QueryLimits) -> str:
        """See `SQLConnector.grants`."""
        del limits
        return writable_file(str(self._url.database or "").removeprefix("file:"))
