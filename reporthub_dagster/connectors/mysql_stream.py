"""The unbuffered result of one query on MySQL or MariaDB, in a read-only session with a time limit."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pymysql

from reporthub_dagster.connectors.base import QueryLimits
from reporthub_dagster.connectors.mysql_columns import column_of
from reporthub_dagster.connectors.mysql_wire import Wire, ask, is_mariadb, run
from reporthub_dagster.connectors.sql import SQLConnector
from reporthub_dagster.connectors.text_stream import BATCH_SECONDS, TextStream
from reporthub_dagster.reporting.bound_query import BoundQuery
from reporthub_dagster.storage.spool import distinct_names

_SERVER = "@@hostname, @@port"
_UNKNOWN_VARIABLE = 1193


class MySQLStream(TextStream):
    """The unbuffered result of one query.

    Args:
        connector: Whose query it is.
        limits: What it may use.
        connection: Its own.
        connect_again: Makes a second connection to the same server, for killing the query.
    """

    def __init__(
        self,
        connector: SQLConnector[Any],
        limits: QueryLimits,
        connection: pymysql.Connection,
        connect_again: Callable[[], pymysql.Connection],
    ) -> None:
        super().__init__(connector, limits)
        self._connection = connection
        self._connect_again = connect_again
        self._wire = Wire(connection)
        self._thread = b""
        self._server: tuple[bytes, ...] = ()

    def prepare(self, *, init_command: str | None, time_zone: str | None, patience: float) -> None:
        """Make the session read-only and limited in time, and remember where it runs.

        Args:
            init_command: A statement that the row wants to run first.
            time_zone: For the session; None leaves the server's.
            patience: Seconds for which the server may send nothing.
        """
        answer = ask(self._connection, f"SELECT VERSION(), CONNECTION_ID(), {_SERVER}")
        version, self._thread, *server = answer
        self._server = tuple(server)
        if init_command:
            self._run(init_command)
            self._run("SET NAMES utf8mb4")
        if time_zone:
            self._run("SET SESSION time_zone = %s", time_zone)
        self._limit_time(version.decode())
        self._run("SET SESSION TRANSACTION READ ONLY")
        self._run("START TRANSACTION READ ONLY")
        self._wire.limit_waiting(patience)

    def send(self, query: BoundQuery, wider: Mapping[int, pa.Field]) -> None:
        """See `SQLStream.send`."""
        values = {name: _sendable(value) for name, value in query.values.items()}
        with self._connection.cursor() as cursor:
            sql = cursor.mogrify(query.text("pyformat"), values)
        fields = self._wire.send(sql)
        names = distinct_names([field.name for field in fields])
        self.describe([column_of(name, field) for name, field in zip(names, fields, strict=True)], wider)

    def read(self) -> pa.RecordBatch | None:
        """See `SQLStream.read`."""
        cells = self._wire.read(len(self._columns), rows=self._limits.rows_at_once, seconds=BATCH_SECONDS)
        return self.batch(cells) if len(cells[0]) else None

    def close(self) -> None:
        """See `ResultStream.close`."""
        self._wire.close()

    def abort(self) -> None:
        """Kill the query through a second connection, then close the socket on what is still coming."""
        try:
            self.stop()
        finally:
            self._wire.drop()

    def stop(self) -> None:
        """See `ResultStream.stop`."""
        with suppress(pymysql.err.Error, OSError):
            self._kill()

    def _kill(self) -> None:
        with closing(self._connect_again()) as second:
            # Behind a balancer the second connection may reach another server, where the same number is
            # somebody else's query.
            if tuple(ask(second, f"SELECT {_SERVER}")) == self._server:
                run(second, f"KILL QUERY {int(self._thread)}")

    def _limit_time(self, version: str) -> None:
        seconds = self._limits.remaining_seconds
        limit = (
            f"max_statement_time = {seconds:.3f}"
            if is_mariadb(version)
            else f"max_execution_time = {math.ceil(seconds * 1000)}"
        )
        try:
            self._run(f"SET SESSION {limit}")
        except pymysql.err.OperationalError as error:
            if error.args[0] != _UNKNOWN_VARIABLE:
                raise
            self._notes += ("the server knows no time limit for statements; only ReportHub watches the time",)

    def _run(self, sql: str, *values: str) -> None:
        run(self._connection, sql, *values)


def _sendable(value: Any) -> Any:
    """A bind as PyMySQL can write it: it drops the offset of a time, so instants go in UTC."""
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(UTC).replace(tzinfo=None)
    return value
