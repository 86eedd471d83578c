"""The kinds of data source, by the words of `report_datasources.db_type`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reporthub_dagster.plugins import Entry, Registry

if TYPE_CHECKING:
    from reporthub_dagster.connectors.base import Connector

CONNECTORS: Registry[Connector] = Registry(
    "connector",
    base="reporthub_dagster.connectors.base:Connector",
    word="kind",
    table="report_datasources",
    column="db_type",
    entries={
        "mysql": Entry("reporthub_dagster.connectors.mysql:MySQLConnector"),
        "postgresql": Entry("reporthub_dagster.connectors.postgresql:PostgreSQLConnector"),
        "duckdb": Entry("reporthub_dagster.connectors.duckdb:DuckDBConnector", extra="duckdb"),
        "clickhouse": Entry("reporthub_dagster.connectors.clickhouse:ClickHouseConnector"),
        "trino": Entry("reporthub_dagster.connectors.trino:TrinoConnector", extra="trino"),
        "bigquery": Entry("reporthub_dagster.connectors.bigquery:BigQueryConnector", extra="bigquery"),
        "snowflake": Entry("reporthub_dagster.connectors.snowflake:SnowflakeConnector", extra="snowflake"),
        "mongodb": Entry("reporthub_dagster.connectors.mongodb:MongoDBConnector", extra="mongodb"),
        "file": Entry("reporthub_dagster.connectors.file:FileConnector", extra="files"),
        "http_api": Entry("reporthub_dagster.connectors.http_api:HttpApiConnector", extra="duckdb"),
        "oracle": Entry("reporthub_dagster.connectors.oracle:OracleConnector", extra="oracle"),
        "sqlserver": Entry("reporthub_dagster.connectors.sqlserver:SQLServerConnector", extra="sqlserver"),
        "sqlite": Entry("reporthub_dagster.connectors.sqlite:SQLiteConnector"),
    },
)
