"""The eight shared tables as the Go API has them; ReportHub creates them only where they do not exist.

The Go API owns their columns: nothing here alters a table that exists. Statements name the columns they use,
so columns that ReportHub does not know are left alone.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from sqlalchemy import BigInteger, Boolean, ForeignKey, Integer, String, Text, text, true
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.sql.functions import FunctionElement

from reporthub_dagster.db.types import Document, WallTime, Words


class _TouchedAt(FunctionElement[datetime]):
    """Default of `updated_at`: now, and on MySQL again at every update, as the Go API's own DDL has it."""

    inherit_cache = True


@compiles(_TouchedAt)
def _touched_at(_element: _TouchedAt, _compiler: Any, **_: Any) -> str:
    return "CURRENT_TIMESTAMP"


@compiles(_TouchedAt, "mysql", "mariadb")
def _touched_at_mysql(_element: _TouchedAt, _compiler: Any, **_: Any) -> str:
    return "CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP"


_NOW = text("CURRENT_TIMESTAMP")

Id = Annotated[int, mapped_column(Integer, primary_key=True, autoincrement=True)]
LongId = Annotated[
    int, mapped_column(BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=True)
]
Active = Annotated[bool, mapped_column(Boolean, server_default=true())]
Moment = Annotated[datetime, mapped_column(WallTime)]
CreatedAt = Annotated[datetime, mapped_column(WallTime, server_default=_NOW)]
UpdatedAt = Annotated[datetime, mapped_column(WallTime, server_default=_TouchedAt())]
Person = Annotated[str, mapped_column(String(100))]
LongText = Annotated[str, mapped_column(Text)]
Json = Annotated[Any, mapped_column(Document)]
Bytes = Annotated[int, mapped_column(BigInteger)]


class Base(DeclarativeBase):
    """The shared tables."""

    __table_args__ = {"mysql_charset": "utf8mb4"}  # noqa: RUF012 - SQLAlchemy's own attribute


class ReportDatasource(Base):
    """Where data comes from."""

    __tablename__ = "report_datasources"

    id: Mapped[Id]
    name: Mapped[str] = mapped_column(String(100), unique=True)
    connection_url: Mapped[LongText]
    db_type: Mapped[str] = mapped_column(
        Words(
            *("mysql", "postgresql", "oracle", "sqlserver", "mongodb", "bigquery", "snowflake", "sqlite"),
            *("clickhouse", "duckdb", "trino", "file", "http_api"),
        )
    )
    connection_config: Mapped[Json | None]
    is_active: Mapped[Active]
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[UpdatedAt]
    created_by: Mapped[Person | None]
    updated_by: Mapped[Person | None]


class ReportConfig(Base):
    """What a report is."""

    __tablename__ = "report_configs"

    id: Mapped[Id]
    report_name: Mapped[str] = mapped_column(String(200), index=True)
    report_query: Mapped[LongText]
    output_format: Mapped[str] = mapped_column(String(50), server_default="csv")
    datasource_id: Mapped[int] = mapped_column(ForeignKey("report_datasources.id"))
    file_name: Mapped[Person | None]
    parameters: Mapped[Json | None]
    timeout_seconds: Mapped[int] = mapped_column(server_default=text("300"))
    max_rows: Mapped[int] = mapped_column(server_default=text("10000"))
    is_active: Mapped[Active]
    version: Mapped[int] = mapped_column(server_default=text("1"))
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[UpdatedAt]
    created_by: Mapped[Person | None]
    updated_by: Mapped[Person | None]


class ReportSchedule(Base):
    """When a report is due."""

    __tablename__ = "report_schedules"

    id: Mapped[Id]
    config_id: Mapped[int] = mapped_column(ForeignKey("report_configs.id"))
    cron_expression: Mapped[str] = mapped_column(String(100))
    timezone: Mapped[str] = mapped_column(String(50), server_default="UTC")
    is_active: Mapped[Active]
    last_run_at: Mapped[Moment | None]
    next_run_at: Mapped[Moment | None]
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[UpdatedAt]
    created_by: Mapped[Person | None]
    updated_by: Mapped[Person | None]


class ReportDelivery(Base):
    """Where a report's file goes."""

    __tablename__ = "report_deliveries"

    id: Mapped[Id]
    config_id: Mapped[int] = mapped_column(ForeignKey("report_configs.id"))
    delivery_name: Mapped[str] = mapped_column(String(200))
    method: Mapped[str] = mapped_column(Words("email", "sftp", "webhook", "s3", "file_share"))
    delivery_config: Mapped[Json]
    max_retry: Mapped[int] = mapped_column(server_default=text("3"))
    retry_interval_minutes: Mapped[int] = mapped_column(server_default=text("5"))
    is_active: Mapped[Active]
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[UpdatedAt]
    created_by: Mapped[Person | None]
    updated_by: Mapped[Person | None]


class ReportDeliveryRecipient(Base):
    """Who gets it."""

    __tablename__ = "report_delivery_recipients"

    id: Mapped[Id]
    delivery_id: Mapped[int] = mapped_column(ForeignKey("report_deliveries.id"))
    recipient_type: Mapped[str] = mapped_column(String(20), server_default="email")
    recipient_value: Mapped[str] = mapped_column(String(500))
    recipient_config: Mapped[Json | None]
    is_active: Mapped[Active]
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[UpdatedAt]


class ReportExecution(Base):
    """One report for one window: the unit of truth."""

    __tablename__ = "report_executions"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    config_id: Mapped[int] = mapped_column(ForeignKey("report_configs.id"))
    schedule_id: Mapped[int | None] = mapped_column(ForeignKey("report_schedules.id"))
    status: Mapped[str] = mapped_column(
        Words("queued", "running", "completed", "failed", "cancelled"), server_default="running"
    )
    started_at: Mapped[CreatedAt]
    completed_at: Mapped[Moment | None]
    executed_by: Mapped[Person]
    execution_context: Mapped[Json | None]
    query_execution_time_ms: Mapped[int | None]
    rows_returned: Mapped[int | None]
    file_generated_path: Mapped[LongText | None]
    file_size_bytes: Mapped[Bytes | None]
    error_message: Mapped[LongText | None]


class ReportDeliveryLog(Base):
    """One attempt of one delivery."""

    __tablename__ = "report_delivery_logs"

    id: Mapped[LongId]
    config_id: Mapped[int | None]
    delivery_id: Mapped[int | None]
    schedule_id: Mapped[int | None]
    execution_id: Mapped[str] = mapped_column(String(36), index=True)
    status: Mapped[str] = mapped_column(Words("pending", "success", "failed", "retry"))
    sent_at: Mapped[CreatedAt]
    completed_at: Mapped[Moment | None]
    recipient_count: Mapped[int] = mapped_column(server_default=text("0"))
    success_count: Mapped[int] = mapped_column(server_default=text("0"))
    failure_count: Mapped[int] = mapped_column(server_default=text("0"))
    retry_count: Mapped[int] = mapped_column(server_default=text("0"))
    error_message: Mapped[LongText | None]
    delivery_details: Mapped[Json | None]
    file_size_bytes: Mapped[Bytes | None]
    processing_time_ms: Mapped[int | None]


class ReportConfigAudit(Base):
    """Who changed what."""

    __tablename__ = "report_config_audits"

    id: Mapped[LongId]
    config_id: Mapped[int | None]
    action: Mapped[str] = mapped_column(Words("create", "update", "delete", "activate", "deactivate"))
    field_name: Mapped[Person | None]
    before_value: Mapped[LongText | None]
    after_value: Mapped[LongText | None]
    change_summary: Mapped[Json | None]
    performed_by: Mapped[Person]
    performed_at: Mapped[CreatedAt]
    session_id: Mapped[Person | None]
    ip_address: Mapped[str | None] = mapped_column(String(45))
