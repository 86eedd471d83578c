"""The result of one query of ClickHouse."""

from __future__ import annotations

import http.client
import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from typing import Any

import pyarrow as pa

from reporthub_dagster.connectors.base import QueryLimits
from reporthub_dagster.connectors.clickhouse_columns import ClickHouseColumn, asking, batch_of, column_of
from reporthub_dagster.connectors.clickhouse_http import Answer, ClickHouseError, Server, text_and_parameters
from reporthub_dagster.connectors.fitting import sound
from reporthub_dagster.connectors.sql import DriverConnector, SQLStream
from reporthub_dagster.reporting.bound_query import BoundQuery
from reporthub_dagster.storage.spool import distinct_names

FAILURES = (ClickHouseError, OSError, http.client.HTTPException, pa.ArrowException)
_STOP_SECONDS = 5.0


class ClickHouseStream(SQLStream):
    """The result of one query, known to the server by a name of its own.

    Args:
        connector: Whose query it is.
        limits: What it may use.
        server: Where it goes.
        time_zone: Of the session.
    """

    def __init__(
        self, connector: DriverConnector[Any], limits: QueryLimits, server: Server, time_zone: str | None
    ) -> None:
        super().__init__(connector, limits)
        self._server = server
        self._time_zone = time_zone
        self._id = f"reporthub-{secrets.token_hex(8)}"
        self._columns: list[ClickHouseColumn] = []
        self._answer: Answer | None = None
        self._reader: Iterator[pa.RecordBatch] = iter(())

    def send(self, query: BoundQuery, wider: Mapping[int, pa.Field]) -> None:
        """See `SQLStream.send`."""
        sql, parameters = text_and_parameters(query)
        settings = self._settings()
        described = self._server.ask(
            f"DESCRIBE TABLE (\n{sql}\n)", {**settings, **parameters, "default_format": "JSONCompactEachRow"}
        )
        with closing(described):
            found = [json.loads(line)[:2] for line in described.document().splitlines()]
        self._columns = [
            column_of(name, declared, wider.get(position)) for position, (name, declared) in enumerate(found)
        ]
        names = distinct_names([name for name, _ in found])
        fields = zip(names, self._columns, strict=True)
        self.schema = pa.schema([column.field.with_name(name) for name, column in fields])
        self.warnings = tuple(
            f"column {field.name!r} is text: it holds moments finer than microseconds"
            for field in wider.values()
        )
        self._answer = self._server.ask(
            asking(sql, self._columns),
            {**settings, **parameters, "default_format": "ArrowStream", "query_id": self._id},
        )

    def read(self) -> pa.RecordBatch | None:
        """See `SQLStream.read`."""
        if self._answer is None:
            return None
        try:
            if not isinstance(self._reader, pa.ipc.RecordBatchStreamReader):
                self._reader = pa.ipc.open_stream(self._answer)
            batch = next(self._reader, None)
        except pa.ArrowInvalid:
            self._answer.require_whole()
            raise
        if batch is None:
            self._answer.require_whole()
            return None
        return batch_of(self._columns, sound(batch), self.schema)

    def close(self) -> None:
        """See `ResultStream.close`."""
        if self._answer is not None:
            self._answer.close()

    def abort(self) -> None:
        """See `ResultStream.abort`."""
        self.stop()
        with suppress(*FAILURES):
            self.close()

    def stop(self) -> None:
        """See `ResultStream.stop`; everybody may stop what is their own."""
        with suppress(*FAILURES):
            self._server.brief(_STOP_SECONDS).ask(
                "KILL QUERY WHERE query_id = {id:String} ASYNC", {"param_id": self._id}
            ).close()

    def _settings(self) -> dict[str, str]:
        limits = self._limits
        settings = {
            "readonly": "1",
            "max_execution_time": f"{limits.remaining_seconds:.3f}",
            "max_block_size": str(limits.rows_at_once),
            "output_format_arrow_string_as_string": "0",
            "output_format_arrow_low_cardinality_as_dictionary": "0",
            "output_format_json_quote_64bit_integers": "0",
            # Of the inner query, where another is put around it: nothing may take its sorting out.
            "query_plan_remove_redundant_sorting": "0",
        }
        return settings | ({"session_timezone": self._time_zone} if self._time_zone else {})
