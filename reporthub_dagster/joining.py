"""The sources of a report that joins several: each prepared, then read into a spool of its own."""

from __future__ import annotations

from dataclasses import dataclass

from reporthub_dagster.connectors.base import Connector
from reporthub_dagster.db.repository import Repository
from reporthub_dagster.planning import (
    active_config,
    active_source,
    bound_query,
    connector_for,
    usable_source,
)
from reporthub_dagster.reporting.bound_query import BoundQuery
from reporthub_dagster.reporting.errors import ConfigurationError, PermanentError
from reporthub_dagster.reporting.records import DataSource, QueryResult, ReportPlan, ReportQuery
from reporthub_dagster.settings import Settings
from reporthub_dagster.sourcing import source_settings
from reporthub_dagster.storage.execution_folder import ExecutionFolder

MOST_SOURCE_ROWS = 10_000_000
"""Of one source; a part of a source would make a wrong join."""


@dataclass(frozen=True, slots=True)
class PreparedSource:
    """A source that can be asked.

    Attributes:
        name: The table that it becomes.
    """

    name: str
    query: ReportQuery
    source: DataSource
    connector: Connector
    bound: BoundQuery


def prepare_sources(plan: ReportPlan, repository: Repository) -> tuple[PreparedSource, ...]:
    """The sources of a plan, every one checked before any is asked.

    Raises:
        ConfigurationError: A data source or a query is wrong; names `parameters.sources.<name>`.
    """
    found = []
    for wanted in plan.sources:
        place = wanted.query.place
        source = usable_source(repository, wanted.datasource_id, plan.config_id, place)
        connector = connector_for(source)
        if not wanted.query.sql.strip() and not connector.default_query:
            raise ConfigurationError(
                f"a source of kind {source.kind} needs a query",
                table="report_configs",
                row=plan.config_id,
                column=place,
                valid='give {"datasource": id, "query": "SELECT …"}',
            )
        bound = bound_query(plan, wanted.query, connector)
        found.append(PreparedSource(wanted.name, wanted.query, source, connector, bound))
    return tuple(found)


def report_connector(plan: ReportPlan, repository: Repository, folder: ExecutionFolder) -> Connector:
    """What answers the queries of a report: its data source, or the engine that joins several.

    Args:
        plan: Of the report.
        repository: For its data source.
        folder: Where the spools of the sources are when a query runs.

    Raises:
        ConfigurationError: The data source is wrong, or the engine is not installed.
    """
    if not plan.sources:
        return connector_for(active_source(repository, active_config(repository, plan.config_id)))
    try:
        from reporthub_dagster.connectors.join import JoinConnector  # noqa: PLC0415
    except ModuleNotFoundError as missing:
        problem = f"joining sources needs the package {missing.name!r}"
    else:
        tables = {source.name: folder.spool(source.name) for source in plan.sources}
        return JoinConnector(tables, source_settings(Settings.load()))
    raise ConfigurationError(
        problem,
        table="report_configs",
        row=plan.config_id,
        column="parameters.sources",
        valid="install it with: pip install 'reporthub-dagster[duckdb]'",
    )


def require_whole(result: QueryResult, prepared: PreparedSource) -> None:
    """Make sure that a source was read to its end.

    Raises:
        PermanentError: It has more rows than may be joined.
    """
    if result.truncated:
        raise PermanentError(
            f"{prepared.query.place} has more than {MOST_SOURCE_ROWS:,} rows, and a part of them would make "
            "a wrong join; select fewer"
        )
