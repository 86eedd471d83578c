"""What the tests of single kinds share: read a query and see its types and values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from reporthub_dagster.connectors.base import Connector, QueryLimits
from reporthub_dagster.reporting.bound_query import BoundQuery
from reporthub_dagster.reporting.records import QueryResult
from reporthub_dagster.storage.spool import Spool

LIMITS = QueryLimits(timeout_seconds=60, max_rows=1_000_000)


def read(
    connector: Connector, query: str | BoundQuery, folder: Path
) -> tuple[QueryResult, list[dict[str, Any]]]:
    """Spool a query; returns the result and its rows as Python objects."""
    bound = BoundQuery.of([query]) if isinstance(query, str) else query
    result = connector.spool(bound, folder / "read.arrow", LIMITS)
    return result, Spool.open(result.spool).head(1_000_000).to_pylist()


def types(result: QueryResult) -> dict[str, str]:
    """Column name → type."""
    return {column.name: column.type for column in result.columns}


def column(rows: list[dict[str, Any]], name: str) -> list[Any]:
    """The values of one column."""
    return [row[name] for row in rows]
