"""BigQuery, through Google's client: jobs with a limit of time and of bytes, rows in Arrow's format."""

from __future__ import annotations

import base64
import binascii
import json
from contextlib import closing
from typing import Any, ClassVar, Literal
from urllib.parse import urlsplit

import google.auth
import grpc
import requests
from google.api_core.exceptions import Forbidden
from google.auth.credentials import AnonymousCredentials, Credentials
from google.auth.transport.requests import AuthorizedSession, Request
from google.cloud.bigquery import Client, DatasetReference, QueryJobConfig
from google.cloud.bigquery_storage import BigQueryReadClient
from google.cloud.bigquery_storage_v1.services.big_query_read.transports import BigQueryReadGrpcTransport
from google.oauth2 import service_account
from pydantic import Field, SecretStr

from reporthub_dagster.connectors.base import QueryLimits
from reporthub_dagster.connectors.bigquery_errors import FAILURES, explain
from reporthub_dagster.connectors.bigquery_stream import BigQueryStream
from reporthub_dagster.connectors.endpoints import Endpoint
from reporthub_dagster.connectors.query_clock import QueryClock
from reporthub_dagster.connectors.sql import QueryTimedOptions, SQLConnector
from reporthub_dagster.network.http_client import tls_context
from reporthub_dagster.network.requests_session import GuardedAdapter, guard
from reporthub_dagster.network.small_file import small_file
from reporthub_dagster.reporting.bound_query import BoundQuery
from reporthub_dagster.reporting.errors import ReportHubError

_SCOPE = "https://www.googleapis.com/auth/bigquery"
_HOST = "bigquery.googleapis.com"


class BigQueryOptions(QueryTimedOptions):
    """Options of a BigQuery source.

    Attributes:
        credentials: JSON key of a service account, as text or as an object; else those of the environment.
        credentials_path: A file with it, on the machine that runs reports.
        credentials_base64: The key in base64.
        location: Of the datasets, `EU`.
        maximum_bytes_billed: A query that would read more is refused.
        labels: Of every job, beside our own.
        priority: Of every job.
        storage_api: False to read rows page by page.
        endpoint: URL of another API than Google's; without credentials, nobody signs in there.
        storage_endpoint: The same for the Storage API, which another `endpoint` is not read by otherwise.
    """

    credentials: SecretStr | dict[str, Any] | None = None
    credentials_path: str | None = None
    credentials_base64: SecretStr | None = None
    location: str | None = None
    maximum_bytes_billed: int | None = Field(default=None, gt=0)
    labels: dict[str, str] = Field(default_factory=dict)
    priority: Literal["INTERACTIVE", "BATCH"] = "INTERACTIVE"
    storage_api: bool = True
    endpoint: str | None = Field(default=None, pattern="^https?://[^/]+/?$")
    storage_endpoint: str | None = Field(default=None, pattern="^https?://[^/]+$")


class BigQueryConnector(SQLConnector[BigQueryOptions]):
    """The datasets that an account of a project may read; the URL names the one that tables need not name."""

    kind = "bigquery"
    dialect = "bigquery"
    schemes = frozenset({"bigquery"})
    options_model = BigQueryOptions
    driver_errors: ClassVar = FAILURES

    def endpoints(self) -> tuple[Endpoint, ...]:
        """See `Connector.endpoints`."""
        found = [url for url in (self._options.endpoint, self._options.storage_endpoint) if url]
        parts = [urlsplit(url) for url in found or [f"https://{_HOST}"]]
        return tuple(
            Endpoint(part.hostname or "", part.port or 443, ruled=True, guarded=True) for part in parts
        )

    def connect(self, limits: QueryLimits) -> BigQueryStream:
        """See `SQLConnector.connect`; each request connects by itself."""
        clock, credentials = QueryClock(limits), self._credentials()
        client, storage = self._client(limits, clock, credentials), self._storage(credentials)
        return BigQueryStream(self, limits, client, storage, clock, self._job(limits))

    def explain(self, error: Exception, limits: QueryLimits) -> ReportHubError:
        """See `SQLConnector.explain`."""
        return explain(self, error, limits)

    def version(self, limits: QueryLimits) -> str:
        """See `SQLConnector.version`: a dry run signs in and costs nothing; sees to the dataset too."""
        config = self._job(limits)
        config.dry_run = True
        with self._client(limits, QueryClock(limits), self._credentials()) as client:
            with self.timing():
                client.query("SELECT 1", config, retry=None, job_retry=None)
            if self._url.database:
                client.get_dataset(self._dataset(), retry=None)
        return f"BigQuery, {urlsplit(self._options.endpoint).netloc if self._options.endpoint else _HOST}"

    def grants(self, limits: QueryLimits) -> str:
        """See `SQLConnector.grants`: asks, dry, whether a new table would be refused."""
        if not self._url.database:
            return ""
        config = self._job(limits)
        config.dry_run = True
        with self._client(limits, QueryClock(limits), self._credentials()) as client:
            try:
                client.query(
                    "CREATE TABLE reporthub_probe AS SELECT 1 AS x", config, retry=None, job_retry=None
                )
            except Forbidden:
                return ""
        return f"new tables in {self._url.host}.{self._url.database}"

    def estimate(self, query: BoundQuery, timeout_seconds: float) -> int:
        """See `Connector.estimate`: what the query would be charged for."""
        limits = QueryLimits(timeout_seconds, max_rows=1)
        with self.translated(limits), closing(self.connect(limits)) as stream:
            return int(stream.dry_run(query).total_bytes_processed or 0)

    def _dataset(self) -> DatasetReference:
        return DatasetReference(self._url.host or "", self._url.database or "")

    def _job(self, limits: QueryLimits) -> QueryJobConfig:
        options = self._options
        labels = {**options.labels, "source": "reporthub"}
        if limits.label:
            labels["reporthub_execution_id"] = limits.label.lower()
        config = QueryJobConfig(labels=labels, priority=options.priority)
        config.job_timeout_ms = max(round(limits.remaining_seconds * 1000), 1)
        config.maximum_bytes_billed = options.maximum_bytes_billed
        if self._url.database:
            config.default_dataset = self._dataset()
        return config

    def _client(self, limits: QueryLimits, clock: QueryClock, credentials: Credentials) -> Client:
        patience = min(self._options.connect_timeout, limits.remaining_seconds)
        adapter = GuardedAdapter(self.settings.egress, tls_context(), patience, clock.left)
        signing_in = requests.Session()
        session = AuthorizedSession(credentials, auth_request=Request(signing_in))
        for one in (signing_in, session):
            guard(one, adapter)
        return Client(
            project=self._url.host,
            credentials=credentials,
            location=self._options.location,
            client_options={"api_endpoint": self._options.endpoint} if self._options.endpoint else None,
            _http=session,
        )

    def _storage(self, credentials: Credentials) -> BigQueryReadClient | None:
        """The Storage API's client; it goes over gRPC, which our way to connect does not reach."""
        options = self._options
        if not options.storage_api or (options.endpoint and not options.storage_endpoint):
            return None
        if options.storage_endpoint is None:
            return BigQueryReadClient(credentials=credentials)
        parts = urlsplit(options.storage_endpoint)
        self.settings.egress.addresses(parts.hostname or "", parts.port or 443, guarded=True)
        if parts.scheme == "http":
            channel = grpc.insecure_channel(parts.netloc)
            return BigQueryReadClient(transport=BigQueryReadGrpcTransport(channel=channel))
        return BigQueryReadClient(credentials=credentials, client_options={"api_endpoint": parts.netloc})

    def _credentials(self) -> Credentials:
        """Who signs in.

        Raises:
            ConfigurationError: The key is none.
        """
        options = self._options
        given: Any = options.credentials
        if options.credentials_path:
            given = small_file(options.credentials_path)
        elif options.credentials_base64:
            given = options.credentials_base64
        try:
            if isinstance(given, SecretStr):
                given = given.get_secret_value()
            if options.credentials_base64 and not options.credentials_path:
                given = base64.b64decode(given, validate=True)
            key = given if given is None or isinstance(given, dict) else json.loads(given)
            if key is not None:
                self._secrets |= {str(key.get("private_key"))}
                made: Credentials = service_account.Credentials.from_service_account_info(
                    key, scopes=[_SCOPE]
                )
                return made
        except (ValueError, AttributeError, binascii.Error, google.auth.exceptions.GoogleAuthError):
            pass
        else:
            return AnonymousCredentials() if options.endpoint else google.auth.default(scopes=[_SCOPE])[0]
        raise self.misconfigured(
            "credentials is no JSON key of a service account",
            column="connection_config",
            valid='give the whole key, or name the variable that holds it: {"env": "NAME"}',
        )
