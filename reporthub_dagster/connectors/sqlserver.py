"""SQL Server and Azure SQL, through Microsoft's driver mssql-python."""

from __future__ import annotations

import math
import re
import socket
from collections.abc import Mapping
from contextlib import closing
from typing import Any, ClassVar, Literal

import mssql_python
from pydantic import Field, SecretStr, field_validator

from reporthub_dagster.connectors.base import QueryLimits
from reporthub_dagster.connectors.endpoints import Endpoint
from reporthub_dagster.connectors.patience import QueryStoppedError
from reporthub_dagster.connectors.source_settings import SourceSettings
from reporthub_dagster.connectors.source_url import url_of
from reporthub_dagster.connectors.sql import DriverConnector, SQLOptions
from reporthub_dagster.connectors.sqlserver_errors import explain
from reporthub_dagster.connectors.sqlserver_stream import SQLServerStream
from reporthub_dagster.reporting.errors import ReportHubError
from reporthub_dagster.reporting.records import DataSource
from reporthub_dagster.reporting.redaction import revealed

_SCHEMES = frozenset({"mssql", "sqlserver"})
_ENCRYPT = {
    **dict.fromkeys(("yes", "true", "mandatory", "1"), "yes"),
    **dict.fromkeys(("no", "false", "optional", "disable", "0"), "no"),
    "strict": "strict",
}
_SAME = {"ssl_ca": "servercertificate", "uid": "user", "pwd": "password", "initialcatalog": "database"}
"""Keys under names of other drivers, and of ours."""
_VERSION = "SELECT CAST(SERVERPROPERTY('ProductVersion') AS nvarchar(128)) AS version"
_WRITABLE = """
SELECT TOP (5) held FROM (
  SELECT permission_name + N' on the database' AS held
  FROM fn_my_permissions(NULL, N'DATABASE')
  WHERE permission_name IN (N'CONTROL', N'ALTER', N'INSERT', N'UPDATE', N'DELETE')
  UNION ALL
  SELECT N'the table ' + QUOTENAME(s.name) + N'.' + QUOTENAME(t.name)
  FROM sys.tables AS t JOIN sys.schemas AS s ON s.schema_id = t.schema_id
  WHERE 1 IN (
    HAS_PERMS_BY_NAME(QUOTENAME(s.name) + N'.' + QUOTENAME(t.name), N'OBJECT', N'INSERT'),
    HAS_PERMS_BY_NAME(QUOTENAME(s.name) + N'.' + QUOTENAME(t.name), N'OBJECT', N'UPDATE'),
    HAS_PERMS_BY_NAME(QUOTENAME(s.name) + N'.' + QUOTENAME(t.name), N'OBJECT', N'DELETE'))
) AS rights
"""

# A connection serves one query: the driver's own pool would keep it, and what was set in it.
mssql_python.pooling(enabled=False)


class SQLServerOptions(SQLOptions):
    """Options of a SQL Server source, in any case, as connection strings and other drivers write them.

    Attributes:
        password: Instead of the URL's; with `user`.
        encrypt: yes, no (only the login), or strict (TDS 8).
        trustservercertificate: False verifies the certificate; unless said, only `strict`,
            `servercertificate` and `hostnameincertificate` do.
        servercertificate: PEM file of the server's own certificate.
        applicationintent: ReadOnly sends the query to a readable replica, which may lag behind.
        instance: A named instance, found by the SQL Server Browser; instead of a port.
        dateformat: How the session reads dates in texts, such as ymd; the login's own unless said.
        read_timeout: With `write_timeout`, `charset`, `driver` and the like: accepted, without effect.
    """

    user: str | None = None
    password: SecretStr | None = None
    database: str | None = None
    instance: str | None = None
    encrypt: str = "yes"
    trustservercertificate: bool | None = None
    servercertificate: str | None = None
    hostnameincertificate: str | None = None
    applicationintent: Literal["ReadOnly", "ReadWrite"] | None = None
    multisubnetfailover: bool | None = None
    packetsize: int | None = Field(default=None, ge=512, le=32_767)
    dateformat: Literal["ymd", "mdy", "dmy", "ydm", "myd", "dym"] | None = None
    driver: Any = None
    tdsversion: Any = None
    charset: Any = None
    readtimeout: Any = None
    writetimeout: Any = None
    timeout: Any = None
    logintimeout: Any = None

    @field_validator("encrypt", mode="before")
    @classmethod
    def _known(cls, value: Any) -> str:
        word = _ENCRYPT.get(str(value).lower())
        if word is None:
            raise ValueError("valid: yes, no, strict")
        return word

    def keywords(self) -> dict[str, str]:
        """What the connection string says of TLS and of the way to the server."""
        trust = self.trustservercertificate
        if trust is None:
            trust = not (self.encrypt == "strict" or self.servercertificate or self.hostnameincertificate)
        given = {
            "Encrypt": self.encrypt,
            "TrustServerCertificate": None if self.encrypt == "strict" else _yes(trust),
            "ServerCertificate": self.servercertificate,
            "HostnameInCertificate": self.hostnameincertificate,
            "ApplicationIntent": self.applicationintent,
            "MultiSubnetFailover": None
            if self.multisubnetfailover is None
            else _yes(self.multisubnetfailover),
            "PacketSize": self.packetsize and str(self.packetsize),
        }
        return {key: value for key, value in given.items() if value}


class SQLServerConnector(DriverConnector[SQLServerOptions]):
    """A SQL Server database."""

    kind = "sqlserver"
    dialect = "tsql"
    options_model = SQLServerOptions
    driver_errors: ClassVar = (mssql_python.Error, QueryStoppedError, OSError, RuntimeError)

    def __init__(self, source: DataSource, settings: SourceSettings | None = None) -> None:
        self._url = url_of(source, _SCHEMES)
        super().__init__(source, settings, _renamed({**self._url.query, **source.options}))

    def endpoints(self) -> tuple[Endpoint, ...]:
        """See `Connector.endpoints`."""
        return (Endpoint(self._host, 0 if self._instance else self._url.port or 1433),)

    def connect(self, limits: QueryLimits) -> SQLServerStream:
        """See `DriverConnector.connect`."""
        stream = SQLServerStream(self, limits, self.connection(limits.remaining_seconds))
        try:
            stream.prepare(self._options.dateformat)
        except BaseException:
            stream.abort()
            raise
        return stream

    def connection(self, seconds: float) -> mssql_python.Connection:
        """A new connection that waits at most `seconds`, or `connect_timeout` when that is less.

        Whatever it runs is part of a transaction that only ever is rolled back.
        """
        port = f",{self._url.port}" if self._url.port and not self._instance else ""
        # The driver tries an unknown host again until its time is over.
        socket.getaddrinfo(self._host, None)
        known = {
            "Server": self._host + (f"\\{self._instance}" if self._instance else port),
            "Database": self._database,
            "UID": self._options.user or self._url.username,
            "PWD": revealed(self._options.password) or str(self._url.password or ""),
            **self._options.keywords(),
            "ConnectRetryCount": "0",
        }
        text = ";".join(f"{key}={_braced(str(value))}" for key, value in known.items() if value)
        patience = math.ceil(min(self._options.connect_timeout, seconds))
        return mssql_python.connect(text, timeout=patience, autocommit=False)

    def explain(self, error: Exception, limits: QueryLimits) -> ReportHubError:
        """See `DriverConnector.explain`."""
        return explain(self, error, limits)

    def version(self, limits: QueryLimits) -> str:
        """See `DriverConnector.version`."""
        with closing(self.connection(limits.remaining_seconds)) as connection, self.timing():
            connection.timeout = math.ceil(limits.remaining_seconds)
            row = connection.execute(_VERSION).fetchone()
        return f"SQL Server {row[0]}" if row else "SQL Server"

    def grants(self, limits: QueryLimits) -> str:
        """See `DriverConnector.grants`."""
        with closing(self.connection(limits.remaining_seconds)) as connection:
            connection.timeout = math.ceil(limits.remaining_seconds)
            return ", ".join(row[0] for row in connection.execute(_WRITABLE).fetchall())

    @property
    def _host(self) -> str:
        return (self._url.host or "localhost").partition("\\")[0]

    @property
    def _instance(self) -> str:
        """By its key, in the host after a backslash, or as Go's driver has it: `host/instance?database=…`."""
        named = (self._url.host or "").partition("\\")[2]
        path = self._url.database if self._options.database else None
        return self._options.instance or named or path or ""

    @property
    def _database(self) -> str:
        return self._options.database or self._url.database or ""


def _renamed(given: Mapping[str, Any]) -> dict[str, Any]:
    """The options under our names, however another driver writes them: `Trust Server Certificate`."""
    known = SQLServerOptions.model_fields
    plain = {key: re.sub(r"[ _]", "", key.lower()) for key in given}
    names = {key: _SAME.get(key.lower()) or _SAME.get(plain[key]) or plain[key] for key in given}
    return {(key if key in known or names[key] not in known else names[key]): given[key] for key in given}


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _braced(value: str) -> str:
    """A value as a connection string holds it whatever is in it."""
    return "{" + value.replace("}", "}}") + "}"
