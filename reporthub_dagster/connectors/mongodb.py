"""MongoDB, through PyMongo: a find or an aggregation as JSON, its documents as exact columns."""

from __future__ import annotations

from typing import Any, ClassVar
from urllib.parse import parse_qsl, unquote, urlsplit

import pymongo
from bson.errors import BSONError
from pymongo.common import VALIDATORS
from pymongo.errors import (
    AutoReconnect,
    ConnectionFailure,
    ExecutionTimeout,
    InvalidURI,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
)
from pymongo.uri_parser import parse_uri

from reporthub_dagster.connectors.base import QueryLimits, refused, timed_out
from reporthub_dagster.connectors.endpoints import Endpoint
from reporthub_dagster.connectors.mongodb_stream import MongoDBStream
from reporthub_dagster.connectors.source_settings import SourceSettings
from reporthub_dagster.connectors.source_url import require_scheme
from reporthub_dagster.connectors.sql import DriverConnector, QueryTimedOptions
from reporthub_dagster.reporting.document_query import DOCUMENTS
from reporthub_dagster.reporting.errors import PermanentError, ReportHubError, TransientError
from reporthub_dagster.reporting.records import DataSource

_TIMED_OUT = {50, 262}
_STOPPED = {237, 11601}
_NOT_LET_IN = {18, 8000}
_NO_RIGHT = {13}
_TRY_AGAIN = {6, 7, 43, 63, 89, 91, 112, 134, 189, 246, 9001, 10107, 11600, 11602, 13388, 13435, 13436}
_UNKNOWN_HOST = ("Name or service not known", "No address associated", "nodename nor servname", "not exist")
_READING = frozenset({"read", "readAnyDatabase", "clusterMonitor"})
_WRITING_ACTIONS = frozenset({"insert", "update", "remove", "dropCollection", "dropDatabase", "anyAction"})
_GRACE_SECONDS = 5.0
"""How much longer than the server's limit our side waits for its word."""


class MongoDBOptions(QueryTimedOptions):
    """Options of a MongoDB source; every option of PyMongo's client is one too."""


class MongoDBConnector(DriverConnector[MongoDBOptions]):
    """A database of a MongoDB server, replica set or cluster."""

    kind = "mongodb"
    dialect = DOCUMENTS
    options_model = MongoDBOptions
    driver_errors: ClassVar = (PyMongoError, BSONError, OverflowError)

    def __init__(self, source: DataSource, settings: SourceSettings | None = None) -> None:
        # PyMongo reads the hosts itself when it connects, which may mean a look at the DNS.
        parts = urlsplit(require_scheme(source, frozenset({"mongodb", "mongodb+srv"})))
        super().__init__(source, settings, {**dict(parse_qsl(parts.query)), **source.options})
        self._database = unquote(parts.path.strip("/"))
        if not self._database:
            raise self.misconfigured(
                "the URL names no database", valid="write mongodb://user:password@host:27017/database"
            )

    def driver_options(self) -> frozenset[str]:
        """See `DriverConnector.driver_options`."""
        extra = self._options.model_extra or {}
        return frozenset(key for key in extra if key.lower() in VALIDATORS)

    def endpoints(self) -> tuple[Endpoint, ...]:
        """See `Connector.endpoints`; the hosts of `mongodb+srv` are asked of the DNS."""
        with self.translated(QueryLimits(self._options.connect_timeout, max_rows=1)):
            nodes = parse_uri(self.source.url.strip(), connect_timeout=self._options.connect_timeout)[
                "nodelist"
            ]
        return tuple(Endpoint(host, port) for host, port in nodes if port is not None)

    def client(self, seconds: float) -> pymongo.MongoClient[dict[str, Any]]:
        """A new client; it connects when it is first asked."""
        extra = self._options.model_extra or {}
        patience = round(min(self._options.connect_timeout, seconds) * 1000)
        try:
            return pymongo.MongoClient(
                self.source.url.strip().partition("?")[0],
                **{key: extra[key] for key in self.driver_options()},
                appname="reporthub",
                connectTimeoutMS=patience,
                serverSelectionTimeoutMS=patience,
                socketTimeoutMS=round((seconds + _GRACE_SECONDS) * 1000),
                retryReads=False,
            )
        except (TypeError, ValueError) as error:
            words = self.plain(error)
        raise self._unusable(words)

    def connect(self, limits: QueryLimits) -> MongoDBStream:
        """See `DriverConnector.connect`."""
        return MongoDBStream(self, limits, self.client(limits.remaining_seconds), self._database)

    def explain(self, error: Exception, limits: QueryLimits) -> ReportHubError:
        """See `DriverConnector.explain`; codes are of MongoDB's error_codes.yml."""
        if isinstance(error, OperationFailure):
            return self._answered(error, limits)
        words = self.plain(error)
        if isinstance(error, (InvalidURI, pymongo.errors.ConfigurationError)):
            return self._unusable(words)
        if isinstance(error, ConnectionFailure):
            return self._not_connected(error, words)
        if isinstance(error, BSONError):
            return PermanentError(f"a value cannot be read or sent: {words}")
        return refused(words)

    def version(self, limits: QueryLimits) -> str:
        """See `DriverConnector.version`."""
        with self.client(limits.remaining_seconds) as client:
            client[self._database].command("ping")
            with self.timing():
                known = client.server_info()
            return f"MongoDB {known['version']}"

    def grants(self, limits: QueryLimits) -> str:
        """See `DriverConnector.grants`."""
        with self.client(limits.remaining_seconds) as client:
            command = {"connectionStatus": 1, "showPrivileges": True}
            known = client[self._database].command(command)["authInfo"]
        actions = {
            action for right in known["authenticatedUserPrivileges"] for action in right.get("actions", ())
        }
        roles = {role["role"] for role in known["authenticatedUserRoles"]} - _READING
        return ", ".join(sorted(actions & _WRITING_ACTIONS) or sorted(() if actions else roles))

    def _unusable(self, words: str) -> ReportHubError:
        return self.misconfigured(
            f"the URL or an option is not usable: {words}",
            valid="correct connection_url, or connection_config",
        )

    def _not_connected(self, error: Exception, words: str) -> ReportHubError:
        if any(unknown in words for unknown in _UNKNOWN_HOST):
            return self.misconfigured(f"unknown host: {words}", valid="correct the host name")
        if isinstance(error, ServerSelectionTimeoutError) or not isinstance(error, AutoReconnect):
            return TransientError(f"the database server cannot be reached: {words}")
        return TransientError(f"the connection to the database was lost: {words}")

    def _answered(self, error: OperationFailure, limits: QueryLimits) -> ReportHubError:
        code = error.code or 0
        words = self.plain((error.details or {}).get("errmsg") or error)
        if isinstance(error, ExecutionTimeout) or code in _TIMED_OUT:
            return timed_out(limits)
        if code in _STOPPED:
            return PermanentError(f"somebody stopped the query on the server: {words}")
        if code in _TRY_AGAIN:
            return TransientError(f"the database could not finish the query now: {words}")
        if code in _NOT_LET_IN:
            return self.misconfigured(
                f"the server refused the login: {words}",
                valid="correct the user or the password, or name the user's database with ?authSource=admin",
            )
        if code in _NO_RIGHT:
            return self.misconfigured(
                f"a right is missing: {words}", valid="grant this user the role read on the database"
            )
        return refused(words)
