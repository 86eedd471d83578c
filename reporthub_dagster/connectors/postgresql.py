"""PostgreSQL, through psycopg 3."""

from __future__ import annotations

import math
from contextlib import closing
from functools import cache
from typing import Any, ClassVar

import psycopg
from psycopg import pq
from pydantic import Field

from reporthub_dagster.connectors.base import QueryLimits
from reporthub_dagster.connectors.endpoints import Endpoint
from reporthub_dagster.connectors.postgresql_errors import explain
from reporthub_dagster.connectors.postgresql_stream import PostgreSQLStream
from reporthub_dagster.connectors.sql import SQLConnector, SQLOptions
from reporthub_dagster.reporting.errors import ReportHubError

_DEFAULTS = {
    "application_name": "reporthub",
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
}
"""A server that is gone without a word is noticed within a minute."""
_WRITABLE = """
    SELECT 'everything, as a superuser' FROM pg_roles WHERE rolname = current_user AND rolsuper
    UNION ALL
    (SELECT c.oid::regclass::text FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^(pg_|information_schema$)'
     AND has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE') ORDER BY 1 LIMIT 5)"""
_OURS = {"client_encoding", "replication", "connect_timeout", "fallback_application_name"}


class PostgreSQLOptions(SQLOptions):
    """Options of a PostgreSQL source; every keyword of libpq is one too.

    Attributes:
        read_timeout: With `charset`: accepted, without effect; the query's time limit holds.
        write_timeout: Seconds that the network may hold back what we send (libpq's `tcp_user_timeout`).
        time_zone: Time zone of the session; the server's own when not given.
        ssl_ca: libpq's `sslrootcert`; without `sslmode`, certificate and host name are verified, the name
            not when `ssl_check_hostname` is false.
    """

    read_timeout: Any = None
    write_timeout: float | None = Field(default=None, gt=0)
    charset: Any = None
    time_zone: str | None = None
    sslmode: str | None = None
    ssl_ca: str | None = None
    ssl_cert: str | None = None
    ssl_key: str | None = None
    ssl_check_hostname: bool = True

    def keywords(self) -> dict[str, Any]:
        """Those that libpq knows by other names."""
        verify = "verify-full" if self.ssl_check_hostname else "verify-ca"
        given = {
            "sslmode": self.sslmode or (verify if self.ssl_ca else None),
            "sslrootcert": self.ssl_ca,
            "sslcert": self.ssl_cert,
            "sslkey": self.ssl_key,
            "tcp_user_timeout": round(self.write_timeout * 1000) if self.write_timeout else None,
        }
        return {key: value for key, value in given.items() if value is not None}


class PostgreSQLConnector(SQLConnector[PostgreSQLOptions]):
    """A PostgreSQL database."""

    kind = "postgresql"
    dialect = "postgres"
    schemes = frozenset({"postgresql", "postgres"})
    database_argument = "dbname"
    options_model = PostgreSQLOptions
    driver_errors: ClassVar = (psycopg.Error,)

    def driver_options(self) -> frozenset[str]:
        """See `SQLConnector.driver_options`."""
        return _libpq_keywords()

    def endpoints(self) -> tuple[Endpoint, ...]:
        """See `Connector.endpoints`; libpq takes several hosts, and folders of sockets."""
        known = self._keywords()
        hosts = str(known.get("hostaddr") or known.get("host") or "").split(",")
        ports = str(known.get("port") or "").split(",")
        return tuple(
            Endpoint(host, int(port or 0))
            for host, port in zip(hosts, ports * len(hosts) if len(ports) == 1 else ports, strict=False)
            if host and not host.startswith(("/", "@"))
        )

    def connect(self, limits: QueryLimits) -> PostgreSQLStream:
        """See `SQLConnector.connect`."""
        stream = PostgreSQLStream(self, limits, self.connection(limits.remaining_seconds))
        try:
            stream.prepare(self._options.time_zone)
        except BaseException:
            stream.abort()
            raise
        return stream

    def connection(self, seconds: float) -> psycopg.Connection[Any]:
        """A new connection, made within `seconds`, or `connect_timeout` when that is less."""
        patience = math.ceil(min(self._options.connect_timeout, seconds))
        return psycopg.connect(
            **self._keywords(),
            client_encoding="utf8",
            connect_timeout=patience,
            prepare_threshold=None,
        )

    def _keywords(self) -> dict[str, Any]:
        """What libpq is told beside what is ours."""
        extra = self._options.model_extra or {}
        given = {key: value for key, value in extra.items() if key in self.driver_options()}
        return {**_DEFAULTS, **self.arguments(), **given, **self._options.keywords()}

    def explain(self, error: Exception, limits: QueryLimits) -> ReportHubError:
        """See `SQLConnector.explain`."""
        return explain(self, error, limits)

    def version(self, limits: QueryLimits) -> str:
        """See `SQLConnector.version`."""
        with closing(self.connection(limits.remaining_seconds)) as connection, self.timing():
            row = connection.execute("SELECT 1, current_setting('server_version')").fetchone()
        return f"PostgreSQL {row[1].split()[0]}" if row else "PostgreSQL"

    def grants(self, limits: QueryLimits) -> str:
        """See `SQLConnector.grants`."""
        with closing(self.connection(limits.remaining_seconds)) as connection:
            found = connection.execute(_WRITABLE).fetchall()
        return ", ".join(row[0] for row in found)


@cache
def _libpq_keywords() -> frozenset[str]:
    return frozenset(option.keyword.decode() for option in pq.Conninfo.get_defaults()) - _OURS
