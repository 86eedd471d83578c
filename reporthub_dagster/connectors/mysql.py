"""MySQL 8 and MariaDB 10.6+, through PyMySQL."""

from __future__ import annotations

import ssl
from contextlib import closing
from functools import cache
from typing import Any, ClassVar

import pymysql
from pydantic import Field
from pymysql.converters import encoders

from reporthub_dagster.connectors.base import QueryLimits, timed_out
from reporthub_dagster.connectors.endpoints import Endpoint
from reporthub_dagster.connectors.mysql_errors import explain
from reporthub_dagster.connectors.mysql_stream import MySQLStream
from reporthub_dagster.connectors.mysql_wire import ServerSilent, ask, is_mariadb
from reporthub_dagster.connectors.sql import SQLConnector, SQLOptions, writing_grants
from reporthub_dagster.reporting.errors import ReportHubError

_ABORT_SECONDS = 5.0
_GRACE_SECONDS = 5.0
"""How much longer than the server we wait before we believe that it is not there any more."""
_PASSED_ON = {
    *("write_timeout", "collation", "sql_mode", "unix_socket", "bind_address", "program_name"),
}


class MySQLOptions(SQLOptions):
    """Options of a MySQL source; the names are PyMySQL's and, for TLS, SQLAlchemy's.

    Attributes:
        read_timeout: Seconds that the server may be silent; never longer than the query's time limit.
        charset: Accepted, without effect: the connection speaks utf8mb4, which holds every character.
        time_zone: Time zone of the session; the server's own when not given.
        ssl_ca: With it the server's certificate is verified, and its name unless `ssl_check_hostname` is
            false.
    """

    read_timeout: float | None = Field(default=None, gt=0)
    write_timeout: float | None = Field(default=None, gt=0)
    charset: str | None = None
    collation: str | None = None
    use_unicode: Any = None
    autocommit: Any = None
    time_zone: str | None = None
    sql_mode: str | None = None
    init_command: str | None = None
    unix_socket: str | None = None
    bind_address: str | None = None
    program_name: str | None = None
    ssl_disabled: bool = False
    ssl_ca: str | None = None
    ssl_capath: str | None = None
    ssl_cert: str | None = None
    ssl_key: str | None = None
    ssl_key_password: str | None = Field(default=None, repr=False)
    ssl_cipher: str | None = None
    ssl_check_hostname: bool = True
    ssl_verify_cert: bool = True

    def tls(self) -> dict[str, Any]:
        """PyMySQL's `ssl` argument; empty means encrypted when the server offers it."""
        files = {
            "ca": self.ssl_ca,
            "capath": self.ssl_capath,
            "cert": self.ssl_cert,
            "key": self.ssl_key,
            "password": self.ssl_key_password,
            "cipher": self.ssl_cipher,
        }
        given = {key: value for key, value in files.items() if value}
        if given and not self.ssl_verify_cert:
            return {**given, "verify_mode": False, "check_hostname": False}
        return {**given, "check_hostname": self.ssl_check_hostname} if given else {}


class _Connection(pymysql.Connection):  # type: ignore[misc]
    """PyMySQL's, without reading every authority of the system for a connection that verifies none."""

    def _create_ssl_ctx(self, settings: Any) -> ssl.SSLContext:
        context: ssl.SSLContext = super()._create_ssl_ctx(settings) if settings else _encrypted()
        return context


@cache
def _encrypted() -> ssl.SSLContext:
    """What PyMySQL makes of no settings at all: encrypted, if the server can, and unverified."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class MySQLConnector(SQLConnector[MySQLOptions]):
    """A MySQL or MariaDB database."""

    kind = "mysql"
    dialect = "mysql"
    schemes = frozenset({"mysql", "mariadb"})
    options_model = MySQLOptions
    driver_errors: ClassVar = (pymysql.err.Error, OSError)

    def endpoints(self) -> tuple[Endpoint, ...]:
        """See `Connector.endpoints`."""
        return () if self._options.unix_socket else super().endpoints()

    def connect(self, limits: QueryLimits) -> MySQLStream:
        """See `SQLConnector.connect`."""
        connection = self.connection(limits.remaining_seconds)
        stream = MySQLStream(self, limits, connection, lambda: self.connection(_ABORT_SECONDS))
        try:
            stream.prepare(
                init_command=self._options.init_command,
                time_zone=self._options.time_zone,
                patience=self.silence(limits),
            )
        except BaseException:
            stream.close()
            raise
        return stream

    def connection(self, seconds: float) -> pymysql.Connection:
        """A new connection that waits at most `seconds`, or `connect_timeout` when that is less."""
        options = self._options
        known = self.arguments()
        given = options.model_dump(include=_PASSED_ON, exclude_none=True)
        patience = min(options.connect_timeout, seconds)
        return _Connection(
            **{**known, **given, "password": str(known.get("password", "")).encode()},
            charset="utf8mb4",
            use_unicode=False,
            conv=encoders,
            autocommit=None,
            local_infile=False,
            connect_timeout=patience,
            read_timeout=patience,
            ssl=options.tls() or None,
            ssl_disabled=options.ssl_disabled,
        )

    def silence(self, limits: QueryLimits) -> float:
        """Seconds for which the server may send nothing."""
        patience = limits.remaining_seconds + _GRACE_SECONDS
        return min(self._options.read_timeout or patience, patience)

    def explain(self, error: Exception, limits: QueryLimits) -> ReportHubError:
        """See `SQLConnector.explain`."""
        if isinstance(error, ServerSilent) and self.silence(limits) > limits.remaining_seconds:
            return timed_out(limits)
        return explain(self, error, limits)

    def version(self, limits: QueryLimits) -> str:
        """See `SQLConnector.version`."""
        with closing(self.connection(limits.remaining_seconds)) as connection, self.timing():
            _, text = ask(connection, "SELECT 1, VERSION()")
        version = text.decode()
        return f"MariaDB {version.partition('-MariaDB')[0]}" if is_mariadb(version) else f"MySQL {version}"

    def grants(self, limits: QueryLimits) -> str:
        """See `SQLConnector.grants`."""
        with closing(self.connection(limits.remaining_seconds)) as connection, connection.cursor() as cursor:
            cursor.execute("SHOW GRANTS")
            return writing_grants(row[0].decode() for row in cursor.fetchall())
