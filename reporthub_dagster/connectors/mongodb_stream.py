"""The result of one query of MongoDB."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, cast

import pyarrow as pa
import pymongo
from bson import decode_all
from pymongo.errors import PyMongoError
from pymongo.synchronous.collection import Collection

from reporthub_dagster.connectors.base import QueryLimits, TypeMisfit, check_deadline
from reporthub_dagster.connectors.mongodb_values import CODEC, plain_document, resolved
from reporthub_dagster.connectors.nested import NestedColumns
from reporthub_dagster.connectors.nested_values import declared_field
from reporthub_dagster.connectors.sql import DriverConnector, SQLStream
from reporthub_dagster.reporting.bound_query import BoundQuery
from reporthub_dagster.reporting.document_query import read_document
from reporthub_dagster.reporting.errors import ConfigurationError

_STOP_SECONDS = 2.0
_PIECE_BYTES = 4 * 1024 * 1024
"""Of a page, how much is taken apart at once: a page of the server has up to 16 MB."""
_LENGTH = struct.Struct("<i")
"""What every document begins with: its own length."""
_FIND = ("projection", "sort", "skip", "limit", "collation", "hint")
_AGGREGATE = ("collation", "hint", "let")
_KEYS = {"collection", "pipeline", "filter", "columns", "comment", *_FIND, *_AGGREGATE}


class MongoDBStream(SQLStream):
    """The result of one query, in a session of its own by which it can be stopped.

    Args:
        connector: Whose query it is.
        limits: What it may use.
        client: Of its own; closed with it.
        database: Name of the database.
    """

    def __init__(
        self,
        connector: DriverConnector[Any],
        limits: QueryLimits,
        client: pymongo.MongoClient[dict[str, Any]],
        database: str,
    ) -> None:
        super().__init__(connector, limits)
        self._client = client
        self._database = client.get_database(database, codec_options=CODEC)
        self._session: pymongo.client_session.ClientSession | None = None
        self._pages: Iterator[bytes] = iter(())
        self._page = memoryview(b"")
        self._first: list[dict[str, Any]] | None = None
        self._given = 0
        self._started = time.monotonic() - limits.spent_seconds

    def send(self, query: BoundQuery, wider: Mapping[int, pa.Field]) -> None:
        """See `SQLStream.send`."""
        tree = read_document(query)
        declared = _declared(tree.get("columns"))
        self._notes = tuple(
            f"report_query: the unknown key {key!r} was passed over" for key in sorted(tree.keys() - _KEYS)
        )
        self._session = self._client.start_session()
        self._pages = self._ask(self._database[tree["collection"]], tree)
        self._first = self._fetch()
        if not self._first and not declared:
            declared = [pa.field(name, pa.utf8()) for name in _expected(tree)]
        self._columns = NestedColumns(self._first, declared, wider, ("report_configs", "report_query"))
        self.schema = pa.schema([_shown(field) for field in self._columns.schema])
        self.warnings = self._notes + tuple(
            f"column {field.name!r} holds values of several types and is read as text"
            for field in wider.values()
            if field.type == pa.utf8() and not field.metadata
        )

    def read(self) -> pa.RecordBatch | None:
        """See `SQLStream.read`."""
        rows, self._first = self._first, None
        if rows is None:
            rows = self._fetch()
        if not rows:
            return None
        try:
            batch = self._columns.batch(rows)
        except TypeMisfit as misfit:
            raise self._columns.widened(misfit, self._later(rows)) from None
        self._given += len(rows)
        return batch.cast(self.schema)

    def _later(self, rows: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
        """These documents and those after them, as far as a report may have them."""
        while rows and self._given <= self._limits.max_rows:
            yield rows
            check_deadline(self._started, self._limits)
            self._given += len(rows)
            rows = self._fetch()

    def close(self) -> None:
        """See `ResultStream.close`."""
        with suppress(PyMongoError), pymongo.timeout(_STOP_SECONDS):
            self._client.close()

    def stop(self) -> None:
        """See `ResultStream.stop`."""
        with suppress(PyMongoError), pymongo.timeout(_STOP_SECONDS):
            if self._session is not None:
                self._client.admin.command("killSessions", [self._session.session_id])

    def _ask(self, collection: Collection[dict[str, Any]], tree: Mapping[str, Any]) -> Iterator[bytes]:
        """The answer in the server's own pages, of 16 MB at the most."""
        rows = self._limits.rows_at_once
        milliseconds = round(self._limits.remaining_seconds * 1000) or 1
        keys = _AGGREGATE if "pipeline" in tree else _FIND
        given = {key: resolved(tree[key], expression=key == "projection") for key in keys if key in tree}
        given |= {"session": self._session, "comment": tree.get("comment")}
        if "pipeline" in tree:
            stages = [resolved(stage, expression=True) for stage in tree["pipeline"]]
            given |= {"maxTimeMS": milliseconds, "batchSize": rows, "allowDiskUse": True}
            return cast("Iterator[bytes]", collection.aggregate_raw_batches(stages, **given))
        if "sort" in given:
            given["sort"] = list(given["sort"].items())
        given |= {"max_time_ms": milliseconds, "batch_size": rows, "allow_disk_use": True}
        found = collection.find_raw_batches(resolved(tree.get("filter", {})), **given)
        return cast("Iterator[bytes]", found)

    def _fetch(self) -> list[dict[str, Any]]:
        """The next documents, none after the last."""
        if not self._page:
            self._page = memoryview(b"")  # the page before is let go of first
            self._page = memoryview(next(self._pages, b""))
        page, end = self._page, 0
        while end < min(len(page), _PIECE_BYTES):
            end += _LENGTH.unpack_from(page, end)[0]
        piece, self._page = page[:end], page[end:]
        return [plain_document(document) for document in decode_all(piece, CODEC)]


def _shown(field: pa.Field) -> pa.Field:
    """A column of which nothing but NULL is known, as text."""
    return pa.field(field.name, pa.utf8()) if pa.types.is_null(field.type) else field


def _declared(columns: Any) -> list[pa.Field]:
    """The columns that the query itself declares, `{"amount": "decimal(12,2)"}`.

    Raises:
        ConfigurationError: A type is none.
    """
    if columns is None:
        return []
    try:
        return [declared_field(str(name), str(word)) for name, word in dict(columns).items()]
    except (TypeError, ValueError) as error:
        problem = f"columns is not usable: {error}"
    raise ConfigurationError(
        problem,
        table="report_configs",
        column="report_query",
        valid='write "columns": {"amount": "decimal(12,2)"}',
    )


def _expected(tree: Mapping[str, Any]) -> list[str]:
    """The columns of a result without rows, as far as the query says which there would be."""
    shown = tree.get("projection") or {}
    for stage in tree.get("pipeline", []):
        shown = stage.get("$project") or stage.get("$group") or shown
    names = [name for name, value in shown.items() if value not in (0, False)]
    return list(dict.fromkeys([*([] if "_id" in shown else ["_id"]), *names]))
