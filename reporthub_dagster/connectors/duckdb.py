"""DuckDB files, opened read-only by an engine in this process that can reach nothing else."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar

import duckdb
import pyarrow as pa
from pydantic import Field

from reporthub_dagster.connectors.base import QueryLimits
from reporthub_dagster.connectors.database_files import database_file
from reporthub_dagster.connectors.duckdb_engine import Engine, literal, lock, scratch_in
from reporthub_dagster.connectors.duckdb_stream import DuckDBStream, explained
from reporthub_dagster.connectors.sql import SQLConnector, SQLOptions, writable_file
from reporthub_dagster.reporting.errors import ReportHubError, TransientError

_NOT_USABLE = "the file cannot be used"
_ANOTHER_PROCESS = "Could not set lock"


class DuckDBOptions(SQLOptions):
    """Options of a DuckDB file.

    Attributes:
        memory_mb: What the engine may use before it spills to disk; `threads` likewise.
        read_only: With `access_mode`: accepted, without effect.
    """

    memory_mb: int = Field(512, ge=64, le=1_000_000)
    threads: int = Field(2, ge=1, le=256)
    read_only: Any = None
    access_mode: Any = None


class DuckDBConnector(SQLConnector[DuckDBOptions]):
    """A DuckDB database file."""

    kind = "duckdb"
    dialect = "duckdb"
    schemes = frozenset({"duckdb"})
    options_model = DuckDBOptions
    driver_errors: ClassVar = (duckdb.Error, OSError, pa.ArrowException)

    def connect(self, limits: QueryLimits) -> DuckDBStream:
        """See `SQLConnector.connect`."""
        with ExitStack() as owned:
            scratch = owned.enter_context(scratch_in(limits.scratch))
            connection = self._attached(scratch)
            return DuckDBStream(self, limits, connection, owned.pop_all())

    def explain(self, error: Exception, limits: QueryLimits) -> ReportHubError:
        """See `SQLConnector.explain`."""
        words = self.plain(error)
        if _ANOTHER_PROCESS in words:
            return TransientError("another process has the file open for writing")
        if words.startswith(_NOT_USABLE):
            return self.misconfigured(words, valid="give the path of a DuckDB file that this user may read")
        return explained(error, words, limits)

    def version(self, limits: QueryLimits) -> str:
        """See `SQLConnector.version`."""
        with scratch_in(limits.scratch) as scratch, self._attached(scratch) as connection, self.timing():
            connection.sql("SELECT 1").fetchall()
        return f"DuckDB {duckdb.__version__}"

    def grants(self, limits: QueryLimits) -> str:
        """See `SQLConnector.grants`."""
        del limits
        return writable_file(str(self._url.database or ""))

    def _attached(self, scratch: Path) -> duckdb.DuckDBPyConnection:
        """An engine of its own: two that open one file in one process would share their settings."""
        name = database_file(str(self._url.database or ""), self.settings, "DuckDB", self.source.id)
        options = self._options
        connection = Engine(scratch, options.memory_mb, options.threads).start()
        try:
            connection.execute(f"ATTACH {literal(name)} AS source (TYPE duckdb, READ_ONLY)")
            connection.execute("USE source")
        except duckdb.Error as error:
            connection.close()
            if _ANOTHER_PROCESS in str(error):
                raise
            raise duckdb.IOException(f"{_NOT_USABLE}: {error}") from None
        lock(connection)
        return connection
