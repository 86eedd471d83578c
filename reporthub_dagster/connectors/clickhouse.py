"""ClickHouse, over HTTP in Arrow's format."""

from __future__ import annotations

import ssl
from contextlib import closing
from typing import ClassVar

from pydantic import Field

from reporthub_dagster.connectors.base import QueryLimits
from reporthub_dagster.connectors.clickhouse_errors import explain
from reporthub_dagster.connectors.clickhouse_http import Server
from reporthub_dagster.connectors.clickhouse_stream import FAILURES, ClickHouseStream
from reporthub_dagster.connectors.sql import QueryTimedOptions, SQLConnector, writing_grants
from reporthub_dagster.reporting.errors import ReportHubError

_GRACE_SECONDS = 5.0
"""How much longer than the server's limit our side waits for its word."""
_PLAIN_PORT, _TLS_PORT = 8123, 8443


class ClickHouseOptions(QueryTimedOptions):
    """Options of a ClickHouse source.

    Attributes:
        secure: True for HTTPS; the port is then 8443 unless the URL names one.
        time_zone: Of the session; the server's own when not given.
    """

    secure: bool = False
    time_zone: str | None = None
    ssl_ca: str | None = None
    ssl_cert: str | None = None
    ssl_key: str | None = None
    ssl_check_hostname: bool = Field(default=True)

    def context(self) -> ssl.SSLContext | None:
        """How TLS is spoken, if it is."""
        if not self.secure:
            return None
        context = ssl.create_default_context(cafile=self.ssl_ca)
        context.check_hostname = self.ssl_check_hostname
        if self.ssl_cert:
            context.load_cert_chain(self.ssl_cert, self.ssl_key)
        return context


class ClickHouseConnector(SQLConnector[ClickHouseOptions]):
    """A database of a ClickHouse server."""

    kind = "clickhouse"
    dialect = "clickhouse"
    schemes = frozenset({"clickhouse"})
    options_model = ClickHouseOptions
    driver_errors: ClassVar = FAILURES

    def connect(self, limits: QueryLimits) -> ClickHouseStream:
        """See `SQLConnector.connect`; over HTTP each statement connects by itself."""
        return ClickHouseStream(self, limits, self.server(limits.remaining_seconds), self._options.time_zone)

    def server(self, seconds: float) -> Server:
        """Where queries go, reached within `connect_timeout` or `seconds`."""
        return Server(
            host=self._url.host or "localhost",
            port=self._url.port or (_TLS_PORT if self._options.secure else _PLAIN_PORT),
            database=self._url.database or "default",
            user=self._url.username or "default",
            password=self._url.password or "",
            tls=self._options.context(),
            connect_seconds=min(self._options.connect_timeout, seconds),
            read_seconds=seconds + _GRACE_SECONDS,
        )

    def version(self, limits: QueryLimits) -> str:
        """See `SQLConnector.version`."""
        server = self.server(limits.remaining_seconds)
        with self.timing():
            answer = server.ask("SELECT version()", {"default_format": "TabSeparated", "readonly": "1"})
        with closing(answer):
            return f"ClickHouse {answer.document().decode().strip()}"

    def explain(self, error: Exception, limits: QueryLimits) -> ReportHubError:
        """See `SQLConnector.explain`."""
        return explain(self, error, limits)

    def grants(self, limits: QueryLimits) -> str:
        """See `SQLConnector.grants`."""
        answer = self.server(limits.remaining_seconds).ask(
            "SHOW GRANTS", {"default_format": "TabSeparatedRaw"}
        )
        with closing(answer):
            return writing_grants(answer.document().decode().splitlines())
