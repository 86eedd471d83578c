"""Trino, through its official client."""

from __future__ import annotations

import ssl
from dataclasses import replace
from typing import Any, ClassVar
from zoneinfo import available_timezones

import requests
from pydantic import Field, SecretStr, field_validator
from trino.auth import Authentication, BasicAuthentication, JWTAuthentication
from trino.client import ClientSession, TrinoQuery, TrinoRequest
from trino.exceptions import TrinoQueryError

from reporthub_dagster.connectors.base import QueryLimits
from reporthub_dagster.connectors.endpoints import Endpoint
from reporthub_dagster.connectors.query_clock import QueryClock
from reporthub_dagster.connectors.sql import QueryTimedOptions, SQLConnector
from reporthub_dagster.connectors.trino_errors import NO_RIGHT, explain
from reporthub_dagster.connectors.trino_stream import (
    FAILURES,
    NO_TRANSACTION,
    TrinoPages,
    TrinoStream,
    literal,
)
from reporthub_dagster.network.requests_session import GuardedAdapter, guard
from reporthub_dagster.reporting.errors import ReportHubError
from reporthub_dagster.reporting.redaction import revealed

_PLAIN_PORT, _TLS_PORT = 8080, 443


class TrinoOptions(QueryTimedOptions):
    """Options of a Trino source.

    Attributes:
        password: Instead of the URL's.
        token: A JSON web token, instead of a password.
        secure: HTTPS; unless said, with a password, a token, or port 443.
        time_zone: Of the session, an IANA name.
        role: To take in the system, or catalog → role.
        session: Session properties, for example {"query_max_memory": "1GB"}.
        transaction: False where a gateway spreads a client's statements over several clusters.
    """

    password: SecretStr | None = None
    token: SecretStr | None = None
    secure: bool | None = None
    time_zone: str = "UTC"
    role: str | dict[str, str] | None = None
    session: dict[str, str] = Field(default_factory=dict)
    transaction: bool = True
    ssl_ca: str | None = None
    ssl_cert: str | None = None
    ssl_key: str | None = None
    ssl_check_hostname: bool = True

    @field_validator("time_zone")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in available_timezones():
            raise ValueError("it is no IANA time zone")
        return name

    def context(self) -> ssl.SSLContext:
        """How TLS is spoken."""
        context = ssl.create_default_context(cafile=self.ssl_ca)
        context.check_hostname = self.ssl_check_hostname
        if self.ssl_cert:
            context.load_cert_chain(self.ssl_cert, self.ssl_key)
        return context


class TrinoConnector(SQLConnector[TrinoOptions]):
    """The catalogs of a Trino cluster; the URL names those that a query need not name."""

    kind = "trino"
    dialect = "trino"
    schemes = frozenset({"trino"})
    options_model = TrinoOptions
    driver_errors: ClassVar = FAILURES

    def endpoints(self) -> tuple[Endpoint, ...]:
        """See `Connector.endpoints`."""
        return tuple(replace(one, ruled=True, guarded=True) for one in super().endpoints())

    def connect(self, limits: QueryLimits) -> TrinoStream:
        """See `SQLConnector.connect`; each request connects by itself."""
        clock = QueryClock(limits)
        transaction = self._options.transaction
        return TrinoStream(self, limits, self._request(limits, clock), clock, transaction=transaction)

    def explain(self, error: Exception, limits: QueryLimits) -> ReportHubError:
        """See `SQLConnector.explain`."""
        return explain(self, error, limits)

    def version(self, limits: QueryLimits) -> str:
        """See `SQLConnector.version`; makes sure of catalog and schema too."""
        with self.timing():
            ((version,),) = self._ask("SELECT version()", limits)
        catalog, schema = self._place()
        if schema:
            asked = (
                f"FROM {_quoted(catalog)}.information_schema.schemata WHERE schema_name = {literal(schema)}"
            )
            if not self._ask(f"SELECT schema_name {asked}", limits):
                raise self.misconfigured(f"there is no schema {catalog}.{schema}", valid="correct its name")
        return f"Trino {version}"

    def grants(self, limits: QueryLimits) -> str:
        """See `SQLConnector.grants`: asks whether a new table would be refused, and makes none."""
        catalog, schema = self._place()
        if not schema:
            return ""
        table = ".".join(map(_quoted, (catalog, schema, "reporthub_probe")))
        try:
            self._ask(f"EXPLAIN (TYPE VALIDATE) CREATE TABLE {table} AS SELECT 1 AS x", limits)
        except TrinoQueryError as error:
            if error.error_name in (NO_RIGHT, "NOT_SUPPORTED"):
                return ""
            raise
        return f"new tables in {catalog}.{schema}"

    def _place(self) -> tuple[str, str]:
        catalog, _, schema = (self._url.database or "").partition("/")
        return catalog, schema

    def _ask(self, sql: str, limits: QueryLimits) -> list[Any]:
        return list(TrinoQuery(self._request(limits, QueryClock(limits)), sql).execute())

    def _request(self, limits: QueryLimits, clock: QueryClock) -> TrinoRequest:
        options, auth = self._options, self._auth()
        secure = options.secure
        if secure is None:
            secure = auth is not None or self._url.port == _TLS_PORT
        if auth is not None and not secure:
            raise self.misconfigured(
                "a password or a token goes over HTTPS only",
                valid="take secure out",
                column="connection_config",
            )
        catalog, schema = self._place()
        session = ClientSession(
            user=self._url.username or "reporthub",
            catalog=catalog or None,
            schema=schema or None,
            source="reporthub",
            properties={**options.session, "query_max_run_time": f"{limits.remaining_seconds:.3f}s"},
            client_tags=["reporthub", *([limits.label] if limits.label else [])],
            roles=options.role,
            timezone=options.time_zone,
            transaction_id=NO_TRANSACTION if options.transaction else None,
        )
        http = requests.Session()
        patience = min(options.connect_timeout, limits.remaining_seconds)
        guard(http, GuardedAdapter(self.settings.egress, options.context(), patience, clock.left))
        return TrinoPages(
            host=self._url.host or "localhost",
            port=self._url.port or (_TLS_PORT if secure else _PLAIN_PORT),
            client_session=session,
            http_session=http,
            http_scheme="https" if secure else "http",
            auth=auth,
        )

    def _auth(self) -> Authentication | None:
        if token := revealed(self._options.token):
            return JWTAuthentication(token)
        password = revealed(self._options.password) or self._url.password
        return BasicAuthentication(self._url.username or "", password) if password else None


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
