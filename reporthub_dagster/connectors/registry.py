"""The kinds of data source, by the words of `report_datasources.db_type`."""

from __future__ import annotations

from reporthub_dagster.connectors.base import Connector
from reporthub_dagster.plugins import Entry, Registry

CONNECTORS: Registry[Connector] = Registry(
    "connector",
    table="report_datasources",
    column="db_type",
    entries={
        "mysql": Entry("reporthub_dagster.connectors.mysql:MySQLConnector"),
        "postgresql": Entry("reporthub_dagster.connectors.postgresql:PostgreSQLConnector"),
        "sqlite": Entry("reporthub_dagster.connectors.sqlite:SQLiteConnector"),
    },
)
