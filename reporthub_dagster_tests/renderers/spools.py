"""Spools and requests for the tests of renderers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from reporthub_dagster.renderers.base import RenderRequest, Section
from reporthub_dagster.reporting.records import TimeWindow
from reporthub_dagster.storage.spool import Spool, new_spool

WINDOW = TimeWindow(
    start=datetime(2025, 1, 30, 17, tzinfo=UTC),
    end=datetime(2025, 1, 31, 17, tzinfo=UTC),
    timezone="Asia/Jakarta",
    method="explicit",
    granularity="daily",
    as_of=datetime(2025, 1, 31, 17, tzinfo=UTC),
)


def spool_of(path: Path, schema: pa.Schema, *batches: Sequence[Sequence[Any]]) -> Spool:
    """A spool at `path` with one record batch for each list of columns."""
    with new_spool(path, schema) as writer:
        for columns in batches:
            arrays = [pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)]
            writer.write(pa.record_batch(arrays, schema=schema))
    return Spool.open(path)


def value_spool(folder: Path, field: pa.Field, values: Sequence[Any]) -> Spool:
    """Two columns: `row` (r1, r2, …) and a column of `values`, named as `field`."""
    schema = pa.schema([pa.field("row", pa.utf8()), field])
    marks = [f"r{number}" for number in range(1, len(values) + 1)]
    return spool_of(folder / "spool.arrow", schema, [marks, values])


def request_for(spool: Spool, **changes: Any) -> RenderRequest:
    """A request for a spool in one section: every column, unless `changes` say otherwise."""
    mine = {name: changes.pop(name) for name in ("name", "columns", "truncated", "query") if name in changes}
    section: dict[str, Any] = {"name": "", "columns": tuple(spool.schema.names)} | mine
    given: dict[str, Any] = {"title": "Daily settlements", "window": WINDOW} | changes
    return RenderRequest(sections=(Section(spool=spool, **section),), **given)
