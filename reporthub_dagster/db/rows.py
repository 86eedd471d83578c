"""Rows of the shared tables → frozen records, with errors that name the row."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import RowMapping

from reporthub_dagster.db.types import UNREADABLE
from reporthub_dagster.reporting.errors import ConfigurationError
from reporthub_dagster.reporting.records import (
    DataSource,
    Delivery,
    Execution,
    Recipient,
    ReportConfig,
    Schedule,
)


def to_utc(moment: datetime | None, zone: ZoneInfo) -> datetime | None:
    """Wall time of the hub's zone as an instant; a value that carries its own zone keeps its instant."""
    if moment is None:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)


def from_utc(moment: datetime | None) -> datetime | None:
    """A moment of a column that is kept in UTC without saying so."""
    return moment.replace(tzinfo=UTC) if moment else None


def to_wall(moment: datetime, zone: ZoneInfo) -> datetime:
    """An instant as the shared tables keep it: naive wall time of the hub's zone, whole seconds."""
    return moment.astimezone(zone).replace(tzinfo=None, microsecond=0)


def json_object(row: RowMapping, table: str, column: str) -> Mapping[str, Any]:
    """A JSON column that holds an object or nothing.

    Raises:
        ConfigurationError: It holds something else; names the row.
    """
    value = row[column]
    if value is None or value == []:  # some writers store an empty object as an empty list
        return {}
    if isinstance(value, Mapping):
        return dict(value)
    raise ConfigurationError(
        "not a JSON object", table=table, row=row["id"], column=column, valid='for example {"key": "value"}'
    )


def data_source(row: RowMapping) -> DataSource:
    """A row of `report_datasources`; `connection_config.kind` names kinds that the enum column lacks.

    Raises:
        ConfigurationError: As `json_object`.
    """
    options = dict(json_object(row, "report_datasources", "connection_config"))
    named = options.pop("kind", None)
    return DataSource(
        id=row["id"],
        name=row["name"],
        kind=str(named or row["db_type"]).strip().lower(),
        url=row["connection_url"],
        options=options,
        is_active=bool(row["is_active"]),
        kind_column="connection_config.kind" if named else "db_type",
    )


def report_config(row: RowMapping) -> ReportConfig:
    """A row of `report_configs`.

    Raises:
        ConfigurationError: As `json_object`, or a limit is out of its range.
    """
    return ReportConfig(
        id=row["id"],
        name=row["report_name"],
        query=row["report_query"],
        output_format=(row["output_format"] or "").strip().lower() or "csv",
        datasource_id=row["datasource_id"],
        file_name=row["file_name"] or None,
        parameters=json_object(row, "report_configs", "parameters"),
        timeout_seconds=_within(row, "report_configs", "timeout_seconds", 1, 3600),
        max_rows=_within(row, "report_configs", "max_rows", 1, 1_000_000),
        is_active=bool(row["is_active"]),
        created_by=row["created_by"],
    )


def schedule(row: RowMapping, zone: ZoneInfo) -> Schedule:
    """A row of `report_schedules`.

    Raises:
        ConfigurationError: A time is none.
    """
    return Schedule(
        id=row["id"],
        config_id=row["config_id"],
        cron_expression=row["cron_expression"],
        timezone=row["timezone"],
        is_active=bool(row["is_active"]),
        last_run_at=_instant(row, "last_run_at", zone),
        next_run_at=_instant(row, "next_run_at", zone),
    )


def delivery(row: RowMapping, recipients: tuple[Recipient, ...]) -> Delivery:
    """A row of `report_deliveries` with its recipients; `delivery_config.kind` names what the enum lacks.

    Raises:
        ConfigurationError: As `json_object`.
    """
    options = dict(json_object(row, "report_deliveries", "delivery_config"))
    named = options.pop("kind", None)
    return Delivery(
        id=row["id"],
        config_id=row["config_id"],
        name=row["delivery_name"],
        method=str(named or row["method"]).strip().lower(),
        options=options,
        max_retry=_within(row, "report_deliveries", "max_retry", 0, 1000),
        retry_interval_minutes=_within(row, "report_deliveries", "retry_interval_minutes", 0, 525_600),
        recipients=recipients,
        is_active=bool(row["is_active"]),
        method_column="delivery_config.kind" if named else "method",
    )


def recipient(row: RowMapping) -> Recipient:
    """A row of `report_delivery_recipients`.

    Raises:
        ConfigurationError: As `json_object`.
    """
    return Recipient(
        id=row["id"],
        kind=row["recipient_type"],
        value=row["recipient_value"],
        options=json_object(row, "report_delivery_recipients", "recipient_config"),
    )


def execution(row: RowMapping, zone: ZoneInfo) -> Execution:
    """A row of `report_executions`; a context that is not a JSON object reads as empty."""
    context = row["execution_context"]
    return Execution(
        id=row["id"],
        config_id=row["config_id"],
        schedule_id=row["schedule_id"],
        status=row["status"],
        started_at=None if row["started_at"] is UNREADABLE else to_utc(row["started_at"], zone),
        completed_at=None if row["completed_at"] is UNREADABLE else to_utc(row["completed_at"], zone),
        executed_by=row["executed_by"],
        context=context if isinstance(context, Mapping) else {},
        query_ms=row["query_execution_time_ms"],
        rows_returned=row["rows_returned"],
        file_path=row["file_generated_path"],
        file_size_bytes=row["file_size_bytes"],
        error_message=row["error_message"],
    )


def _instant(row: RowMapping, column: str, zone: ZoneInfo) -> datetime | None:
    if row[column] is UNREADABLE:
        raise ConfigurationError(
            "not a time",
            table="report_schedules",
            row=row["id"],
            column=column,
            valid="write YYYY-MM-DD HH:MM:SS, or NULL",
        )
    return to_utc(row[column], zone)


def _within(row: RowMapping, table: str, column: str, low: int, high: int) -> int:
    value = row[column]
    if not isinstance(value, int) or not low <= value <= high:
        raise ConfigurationError(
            "out of range",
            table=table,
            row=row["id"],
            column=column,
            value=value,
            valid=f"valid: {low} to {high:,}",
        )
    return value
