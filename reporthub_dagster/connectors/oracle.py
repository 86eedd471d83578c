"""Oracle Database 12.1 and later, through python-oracledb in thin mode: no client libraries."""

from __future__ import annotations

import re
import ssl
from contextlib import closing
from typing import Any, ClassVar, Literal

import oracledb
from pydantic import Field, SecretStr, field_validator

from reporthub_dagster.connectors.base import QueryLimits
from reporthub_dagster.connectors.endpoints import Endpoint
from reporthub_dagster.connectors.oracle_errors import explain
from reporthub_dagster.connectors.oracle_stream import OracleStream
from reporthub_dagster.connectors.patience import QueryStoppedError, in_time
from reporthub_dagster.connectors.source_settings import SourceSettings
from reporthub_dagster.connectors.source_url import url_of
from reporthub_dagster.connectors.sql import DriverConnector, SQLOptions
from reporthub_dagster.reporting.errors import ReportHubError
from reporthub_dagster.reporting.records import DataSource
from reporthub_dagster.reporting.redaction import revealed

_PORT = 1521
_ZONE = re.compile(r"[A-Za-z0-9_/+:-]+")
_WRITABLE = """
SELECT held FROM (
  SELECT privilege AS held FROM session_privs
  WHERE privilege IN ('CREATE TABLE', 'ALTER ANY TABLE', 'DROP ANY TABLE', 'INSERT ANY TABLE',
                      'UPDATE ANY TABLE', 'DELETE ANY TABLE')
  UNION ALL
  SELECT privilege || ' on ' || owner || '.' || table_name FROM user_tab_privs
  WHERE grantee = USER AND privilege IN ('INSERT', 'UPDATE', 'DELETE', 'ALTER')
  UNION ALL
  SELECT 'its own table ' || table_name FROM user_tables
) WHERE ROWNUM <= 5
"""


class OracleOptions(SQLOptions):
    """Options of an Oracle source.

    Attributes:
        service_name: With the URL's host and port; instead of the URL's path, which is a SID.
        dsn: A connect descriptor, an Easy Connect text, or a name of `tnsnames.ora` in `config_dir`.
        protocol: tcps for TLS.
        wallet_location: Folder with `ewallet.pem`, whose key `wallet_password` opens.
        ssl_ca: PEM file of the authorities to trust, without a wallet; the system's own unless said.
        time_zone: Of the session: what a plain date means where a query compares it with an instant.
        nls_date_format: Of the session, for queries that compare dates with texts.
        read_timeout: With `write_timeout`, `encoding` and the like: accepted, without effect.
    """

    user: str | None = None
    password: SecretStr | None = None
    service_name: str | None = None
    sid: str | None = None
    dsn: str | None = None
    config_dir: str | None = None
    protocol: Literal["tcp", "tcps"] = "tcp"
    wallet_location: str | None = None
    wallet_password: SecretStr | None = None
    ssl_ca: str | None = None
    ssl_cert: str | None = None
    ssl_key: str | None = None
    ssl_check_hostname: bool = True
    ssl_server_cert_dn: str | None = None
    time_zone: str | None = None
    nls_date_format: str | None = Field(default=None, max_length=100)
    charset: Any = None
    encoding: Any = None
    nencoding: Any = None
    threaded: Any = None
    read_timeout: Any = None
    write_timeout: Any = None

    @field_validator("time_zone")
    @classmethod
    def _a_zone(cls, value: str) -> str:
        if not _ZONE.fullmatch(value):
            raise ValueError("give an offset such as +07:00, or a name such as Asia/Jakarta")
        return value

    def session(self) -> list[str]:
        """What the session is told first."""
        told = []
        if self.time_zone:
            told.append(f"ALTER SESSION SET TIME_ZONE = '{self.time_zone}'")
        if self.nls_date_format:
            shown = self.nls_date_format.replace("'", "''")
            told.append(f"ALTER SESSION SET NLS_DATE_FORMAT = '{shown}'")
        return told

    def tls(self) -> dict[str, Any]:
        """The driver's arguments of TLS."""
        given: dict[str, Any] = {
            "wallet_location": self.wallet_location,
            "wallet_password": revealed(self.wallet_password),
            "ssl_server_cert_dn": self.ssl_server_cert_dn,
        }
        if self.protocol == "tcps":
            given["ssl_server_dn_match"] = self.ssl_check_hostname
        if self.ssl_ca or self.ssl_cert:
            given["ssl_context"] = context = ssl.create_default_context(cafile=self.ssl_ca)
            context.check_hostname = False  # the driver itself holds the name against the certificate
            if self.ssl_cert:
                context.load_cert_chain(self.ssl_cert, self.ssl_key)
        return {key: value for key, value in given.items() if value is not None}


class OracleConnector(DriverConnector[OracleOptions]):
    """A service of an Oracle database."""

    kind = "oracle"
    dialect = "oracle"
    options_model = OracleOptions
    driver_errors: ClassVar = (oracledb.Error, QueryStoppedError, OSError, ValueError, OverflowError)

    def __init__(self, source: DataSource, settings: SourceSettings | None = None) -> None:
        self._url = url_of(source, frozenset({"oracle"}))
        super().__init__(source, settings, {**self._url.query, **source.options})

    def endpoints(self) -> tuple[Endpoint, ...]:
        """See `Connector.endpoints`; where a descriptor leads is read when it connects."""
        place = self.place()
        return () if "dsn" in place else (Endpoint(place["host"], place["port"]),)

    def place(self) -> dict[str, Any]:
        """The driver's arguments that say where: as SQLAlchemy reads a URL, its path is a SID.

        Raises:
            ConfigurationError: The row names no database.
        """
        options, url = self._options, self._url
        if options.dsn:
            return {"dsn": options.dsn}
        sid = options.sid or (None if options.service_name else url.database)
        if not (sid or options.service_name):
            if url.host and not url.port:
                return {"dsn": url.host}
            raise self.misconfigured(
                "the row names no database",
                valid="write oracle://user:password@host:1521/?service_name=NAME, or /SID, or a name of "
                "tnsnames.ora in the place of the host",
            )
        named = {"service_name": options.service_name} if options.service_name else {"sid": sid}
        address = {"host": url.host or "localhost", "port": url.port or _PORT}
        return {**address, "protocol": options.protocol, **named}

    def connect(self, limits: QueryLimits) -> OracleStream:
        """See `DriverConnector.connect`."""
        stream = OracleStream(self, limits, self.connection(limits.remaining_seconds))
        try:
            stream.prepare(self._options.session())
        except BaseException:
            stream.abort()
            raise
        return stream

    def connection(self, seconds: float) -> oracledb.Connection:
        """A new connection that waits at most `seconds`, or `connect_timeout` when that is less."""
        options = self._options
        patience = min(options.connect_timeout, seconds)
        arguments = {
            "user": options.user or self._url.username,
            "password": revealed(options.password) or self._url.password,
            **self.place(),
            **options.tls(),
            "config_dir": options.config_dir,
            "tcp_connect_timeout": patience,
            "retry_count": 0,
            "program": "reporthub",
        }
        given = {key: value for key, value in arguments.items() if value is not None}
        # A listener that takes the connection and says nothing has no time limit in the driver.
        connection: oracledb.Connection = in_time(
            lambda: oracledb.connect(**given), patience, late=lambda late: late.close()
        )
        connection.call_timeout = max(round(seconds * 1000), 1)
        return connection

    def explain(self, error: Exception, limits: QueryLimits) -> ReportHubError:
        """See `DriverConnector.explain`."""
        return explain(self, error, limits)

    def version(self, limits: QueryLimits) -> str:
        """See `DriverConnector.version`."""
        with closing(self.connection(limits.remaining_seconds)) as connection:
            with self.timing(), connection.cursor() as cursor:
                cursor.execute("SELECT 1 FROM DUAL").fetchall()
            return f"Oracle {connection.version}"

    def grants(self, limits: QueryLimits) -> str:
        """See `DriverConnector.grants`."""
        with closing(self.connection(limits.remaining_seconds)) as connection, connection.cursor() as cursor:
            return ", ".join(row[0] for row in cursor.execute(_WRITABLE).fetchall())
