"""Snowflake, through its own driver: queries that run by themselves, rows in Arrow's format."""

from __future__ import annotations

import json
import os
import warnings
from contextlib import closing
from typing import Any, ClassVar, Literal

import snowflake.connector
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from pydantic import Field, SecretStr
from snowflake.connector import DictCursor
from snowflake.connector.errors import ProgrammingError

from reporthub_dagster.connectors.base import QueryLimits
from reporthub_dagster.connectors.endpoints import Endpoint
from reporthub_dagster.connectors.snowflake_errors import explain
from reporthub_dagster.connectors.snowflake_stream import FAILURES, SnowflakeStream
from reporthub_dagster.connectors.sql import QueryTimedOptions, SQLConnector
from reporthub_dagster.reporting.errors import ReportHubError
from reporthub_dagster.reporting.redaction import revealed

_DOMAIN = "snowflakecomputing.com"
_WRITING = frozenset({"INSERT", "UPDATE", "DELETE", "TRUNCATE", "OWNERSHIP", "ALL PRIVILEGES"})
_SYNTAX_ERROR = 1003
_GRACE_SECONDS = 5

# The driver's core would ask the metadata services of clouds who this machine is, past any egress policy.
os.environ.setdefault("SNOWFLAKE_DISABLE_PLATFORM_DETECTION", "true")


class SnowflakeOptions(QueryTimedOptions):
    """Options of a Snowflake source.

    Attributes:
        password: Instead of the URL's.
        private_key: PEM text of a key pair's private half, instead of a password.
        private_key_passphrase: That it is encrypted with.
        token: A programmatic access token, instead of a password.
        warehouse: That queries run in.
        role: That they run as.
        time_zone: Of the session; UTC unless said.
        host: Of another machine than the account's own, with `port` and `protocol`: a private link.
    """

    password: SecretStr | None = None
    private_key: SecretStr | None = None
    private_key_passphrase: SecretStr | None = None
    token: SecretStr | None = None
    warehouse: str | None = None
    role: str | None = None
    time_zone: str = "UTC"
    host: str | None = None
    port: int = Field(default=443, gt=0, lt=65_536)
    protocol: Literal["https", "http"] = "https"


class SnowflakeConnector(SQLConnector[SnowflakeOptions]):
    """A database of a Snowflake account."""

    kind = "snowflake"
    dialect = "snowflake"
    schemes = frozenset({"snowflake"})
    options_model = SnowflakeOptions
    driver_errors: ClassVar = FAILURES

    def endpoints(self) -> tuple[Endpoint, ...]:
        """See `Connector.endpoints`."""
        options = self._options
        account = self._url.host or ""
        host = options.host or (account if account.endswith(_DOMAIN) else f"{account}.{_DOMAIN}")
        return (Endpoint(host, options.port, ruled=True, guarded=True),)

    def connect(self, limits: QueryLimits) -> SnowflakeStream:
        """See `SQLConnector.connect`."""
        return SnowflakeStream(self, limits, self._connection(limits))

    def explain(self, error: Exception, limits: QueryLimits) -> ReportHubError:
        """See `SQLConnector.explain`."""
        return explain(self, error, limits)

    def version(self, limits: QueryLimits) -> str:
        """See `SQLConnector.version`; makes sure of database and schema too."""
        with closing(self._connection(limits)) as connection:
            with self.timing():
                ((version, database, schema),) = _asked(
                    connection, "SELECT CURRENT_VERSION(), CURRENT_DATABASE(), CURRENT_SCHEMA()"
                )
            wanted = self._place()
            for name, found in zip(wanted, (database, schema), strict=True):
                if name and (found or "").upper() != name.upper():
                    raise self.misconfigured(
                        f"there is no {'.'.join(filter(None, wanted))}, or the role may not use it",
                        valid="correct the names of database and schema, or grant USAGE on them",
                    )
            return f"Snowflake {version}"

    def grants(self, limits: QueryLimits) -> str:
        """See `SQLConnector.grants`: what the session's roles, and those that they inherit, may change."""
        with closing(self._connection(limits)) as connection:
            ((primary, active),) = _asked(connection, "SELECT CURRENT_ROLE(), CURRENT_SECONDARY_ROLES()")
            roles = [primary, *json.loads(active or "{}").get("roles", "").split(",")]
            found = {
                f"{right} on {kind}s".lower() + f" (role {holder})"
                for role in dict.fromkeys(filter(None, roles))
                for right, kind, holder in _rights(connection, role)
                if right in _WRITING or (right.startswith("CREATE ") and role == primary)
            }
        return ", ".join(sorted(found))

    def _place(self) -> tuple[str, str]:
        database, _, schema = (self._url.database or "").partition("/")
        return database, schema

    def _connection(self, limits: QueryLimits) -> Any:
        """A session; the driver's own core connects, to a host that was checked."""
        options, place = self._options, self.endpoints()[0]
        self.settings.egress.addresses(place.host, place.port, guarded=True)
        database, schema = self._place()
        patience = max(round(min(options.connect_timeout, limits.remaining_seconds)), 1)
        named = {"role": options.role, "warehouse": options.warehouse, "database": database, "schema": schema}
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", FutureWarning
            )  # of defaults that are going to change: ours are said
            return snowflake.connector.connect(
                account=(self._url.host or "").removesuffix(f".{_DOMAIN}"),
                host=place.host,
                port=place.port,
                protocol=options.protocol,
                user=self._url.username,
                **self._login(),
                **{key: value for key, value in named.items() if value},
                application="ReportHub",
                login_timeout=patience,
                request_timeout=max(round(limits.remaining_seconds), 1) + _GRACE_SECONDS,
                paramstyle="qmark",
                arrow_number_to_decimal=True,
                client_session_keep_alive=False,
                server_session_keep_alive=False,
                enable_server_session_keep_alive_auto_detection=False,
                client_out_of_band_telemetry_enabled=False,
                use_proxy_env=False,
                session_parameters={
                    # Nothing of Snowflake's makes a session read-only: what is not committed goes with it.
                    "AUTOCOMMIT": False,
                    "CLIENT_TELEMETRY_ENABLED": False,
                    "QUERY_TAG": f"reporthub {limits.label}".rstrip(),
                    "STATEMENT_TIMEOUT_IN_SECONDS": max(round(limits.remaining_seconds), 1),
                    "TIMEZONE": options.time_zone,
                },
            )

    def _login(self) -> dict[str, Any]:
        options = self._options
        if key := revealed(options.private_key):
            return {"authenticator": "SNOWFLAKE_JWT", "private_key": self._key(key)}
        if token := revealed(options.token):
            return {"authenticator": "PROGRAMMATIC_ACCESS_TOKEN", "token": token}
        return {"password": revealed(options.password) or self._url.password}

    def _key(self, text: str) -> bytes:
        """A private key as the driver takes it.

        Raises:
            ConfigurationError: It is none, or its passphrase is wrong.
        """
        passphrase = revealed(self._options.private_key_passphrase)
        try:
            key = serialization.load_pem_private_key(
                text.encode(), passphrase.encode() if passphrase else None
            )
        except (TypeError, ValueError, UnsupportedAlgorithm):
            problem = "private_key cannot be read"
        else:
            return key.private_bytes(
                serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        raise self.misconfigured(
            problem,
            column="connection_config",
            valid="give the PEM text of an RSA key, and its private_key_passphrase where it is encrypted",
        )


def _rights(connection: Any, role: str) -> list[tuple[str, str, str]]:
    """What a role has been granted: the right, on what, and to which of the roles that it inherits."""
    quoted = '"' + role.replace('"', '""') + '"'
    asked = f"SHOW GRANTS TO ROLE {quoted}"
    with connection.cursor(DictCursor) as cursor:
        try:
            cursor.execute(f"{asked} INCLUDE HIERARCHY")
        except ProgrammingError as error:
            if error.errno != _SYNTAX_ERROR:
                raise
            cursor.execute(asked)  # as before November 2026: what was granted to the role itself
        return [(row["privilege"], row["granted_on"], row["grantee_name"]) for row in cursor.fetchall()]


def _asked(connection: Any, sql: str) -> list[Any]:
    return list(connection.cursor().execute(sql).fetchall())
