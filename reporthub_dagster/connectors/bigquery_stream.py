"""The result of one BigQuery job, in Arrow batches: by the Storage API where there is one, else by pages."""

from __future__ import annotations

import secrets
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from typing import Any

import pyarrow as pa
from google.api_core.exceptions import Forbidden
from google.cloud.bigquery import Client, QueryJob, QueryJobConfig, SchemaField
from google.cloud.bigquery.retry import DEFAULT_RETRY
from google.cloud.bigquery_storage import BigQueryReadClient

from reporthub_dagster.connectors.base import QueryLimits
from reporthub_dagster.connectors.bigquery_columns import batch_of, parameters_of, schema_of, text_of
from reporthub_dagster.connectors.bigquery_errors import FAILURES
from reporthub_dagster.connectors.fitting import sound
from reporthub_dagster.connectors.query_clock import QueryClock
from reporthub_dagster.connectors.sql import DriverConnector, SQLStream
from reporthub_dagster.reporting.bound_query import BoundQuery
from reporthub_dagster.reporting.errors import ConfigurationError

_PAGE_ROWS = 2_000
"""A page is one JSON document, of which several copies are in memory while it is read."""
_RETRY_SECONDS = 5.0
"""How long the client asks again what was not answered."""

_NO_STORAGE = (
    "the account may not use the Storage API, so the rows came page by page; grant it BigQuery Read Session "
    "User, or set storage_api to false"
)


class BigQueryStream(SQLStream):
    """The result of one query, which is a job with an id of ours.

    Args:
        connector: Whose query it is.
        limits: What it may use.
        client: For it alone; closed with it.
        storage: Reads the rows, if it may.
        clock: Of the client's session.
        config: Of the job.
    """

    def __init__(
        self,
        connector: DriverConnector[Any],
        limits: QueryLimits,
        client: Client,
        storage: BigQueryReadClient | None,
        clock: QueryClock,
        config: QueryJobConfig,
    ) -> None:
        super().__init__(connector, limits)
        self._client = client
        self._storage = storage
        self._clock = clock
        self._config = config
        self._id = f"reporthub-{secrets.token_hex(12)}"
        self._begun = False
        self._job: QueryJob | None = None
        self._fields: Sequence[SchemaField] = ()
        self._batches: Iterator[pa.RecordBatch] = iter(())
        self._rest: pa.RecordBatch | None = None

    def dry_run(self, query: BoundQuery) -> QueryJob:
        """What the query would do, and how much it would read; nothing runs and nothing is billed.

        Raises:
            ConfigurationError: It would do more than read.
        """
        config = deepcopy(self._config)
        config.dry_run, config.use_query_cache = True, False
        config.query_parameters = parameters_of(query)
        job = self._client.query(text_of(query), config, retry=self._retry(), job_retry=None)
        if job.statement_type != "SELECT":
            raise ConfigurationError(
                f"BigQuery takes the query for {job.statement_type}: a report is read-only",
                table="report_configs",
                column="report_query",
                valid="write one SELECT",
            )
        return job

    def send(self, query: BoundQuery, wider: Mapping[int, pa.Field]) -> None:
        """See `SQLStream.send`."""
        del wider
        self.dry_run(query)
        self._config.query_parameters = parameters_of(query)
        self._begun = True
        self._job = self._client.query(
            text_of(query), self._config, job_id=self._id, retry=self._retry(), job_retry=None
        )
        self._fields = self._ask_rows(self._job)
        self.schema = schema_of(self._fields)

    def read(self) -> pa.RecordBatch | None:
        """See `SQLStream.read`."""
        if self._rest is None:
            self._clock.left()
            self._rest = self._next()
            if self._rest is None:
                return None
        most = self._limits.rows_at_once
        batch, rest = self._rest.slice(0, most), self._rest.slice(most)
        self._rest = rest if rest.num_rows else None
        return batch_of(self._fields, batch, self.schema)

    def close(self) -> None:
        """See `ResultStream.close`."""
        with suppress(*FAILURES):
            if self._storage is not None:
                self._storage.transport.close()  # first: the rows wait for what is on its way
            closing = getattr(self._batches, "close", None)
            if closing is not None:
                closing()
            self._client.close()

    def stop(self) -> None:
        """See `ResultStream.stop`; a job that is over is not minded."""
        self._clock.stopping = True
        with suppress(*FAILURES):
            if self._begun:
                self._client.cancel_job(self._id, retry=self._retry())

    def _ask_rows(self, job: QueryJob) -> Sequence[SchemaField]:
        """Wait for the job, and begin to read its rows; returns their columns."""
        rows = job.result(
            page_size=min(self._limits.rows_at_once, _PAGE_ROWS),
            retry=self._retry(),
            timeout=self._clock.left(),
            job_retry=None,
        )
        self._batches = rows.to_arrow_iterable(
            self._storage, max_queue_size=1, max_stream_count=1, timeout=self._clock.left()
        )
        fields: Sequence[SchemaField] = rows.schema
        return fields

    def _next(self) -> pa.RecordBatch | None:
        try:
            with warnings.catch_warnings():  # of types that the client has no column for, and we have text
                warnings.simplefilter("ignore", UserWarning)
                batch = next(self._batches, None)
                return None if batch is None else sound(batch)
        except Forbidden:
            if self._storage is None or self._job is None:
                raise
        self._storage.transport.close()
        self._storage = None
        self.warnings = (_NO_STORAGE,)
        self._ask_rows(self._job)
        return self._next()

    def _retry(self) -> Any:
        return DEFAULT_RETRY.with_timeout(min(_RETRY_SECONDS, self._clock.left()))
