"""Rows of several sources as tables of one engine: what `parameters.sources` names, joined on disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb

from reporthub_dagster.connectors.base import QueryLimits
from reporthub_dagster.connectors.source_settings import SourceSettings
from reporthub_dagster.connectors.spool_table import attach_spool
from reporthub_dagster.connectors.sql import SQLOptions
from reporthub_dagster.connectors.tabular import Table, TabularConnector
from reporthub_dagster.reporting.records import DataSource


class JoinConnector(TabularConnector[SQLOptions]):
    """Spools under the names of tables; it has no row of its own.

    Args:
        tables: Name → spool. The spools need not be there before a query runs.
        settings: What the environment says.
    """

    kind = "join"
    default_query = ""
    options_model = SQLOptions

    def __init__(self, tables: Mapping[str, Path], settings: SourceSettings) -> None:
        super().__init__(DataSource(0, "join", "join", "", {}), settings)
        self._spools = dict(tables)

    def gather(self, variables: Mapping[str, Any], scratch: Path, limits: QueryLimits) -> Table:
        """See `TabularConnector.gather`; everything is there already."""
        del variables, scratch, limits

        def attach(connection: duckdb.DuckDBPyConnection, _: str) -> None:
            for name, spool in self._spools.items():
                attach_spool(connection, name, spool)

        return Table(attach)

    def version(self, limits: QueryLimits) -> str:
        """See `DriverConnector.version`."""
        del limits
        return f"DuckDB {duckdb.__version__}"
