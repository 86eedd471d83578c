"""The frozen records that pass between the parts of ReportHub.

Times are aware and in UTC unless a field says otherwise. Records that hold a connection URL, options of a
driver or a delivery's settings may hold secrets: those fields are left out of `repr`, and such records never
pass between ops; `ReportPlan` and everything else that does holds ids only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

CalculationMethod = Literal["explicit", "last_run_at", "cron_detection", "default_daily"]
Granularity = Literal["hourly", "daily", "weekly", "monthly"]
ExecutionStatus = Literal["queued", "running", "completed", "failed", "cancelled"]
CompressionMethod = Literal["gzip", "zip"]
Deliver = Literal["all", "none"] | tuple[str, ...]
"""Who is to get a report: everybody, nobody, or the addresses of a test run."""
ReceiptState = Literal["sent", "refused", "retry", "unknown"]
TemplateValue = Any
"""A scalar (str, int, float, bool, Decimal, date, datetime, time, UUID, None) or a list of them."""


@dataclass(frozen=True, slots=True)
class TimeWindow:
    """The half-open window [start, end) of a report.

    Attributes:
        start: First instant of the window.
        end: First instant after it.
        timezone: IANA name of the zone in which people read it.
        method: How it was found; `explicit` when a person gave it.
        granularity: How often the report comes, from its cron; decides what `date_field` covers.
        as_of: The instant the report speaks for: the slot, or the moment a manual run was asked for.
    """

    start: datetime
    end: datetime
    timezone: str
    method: CalculationMethod
    granularity: Granularity
    as_of: datetime


@dataclass(frozen=True, slots=True)
class DataSource:
    """A row of `report_datasources`.

    Attributes:
        kind_column: Where the row says its kind: the enum column cannot hold every word.
    """

    id: int
    name: str
    kind: str
    url: str = field(repr=False)
    options: Mapping[str, Any] = field(repr=False)
    is_active: bool = True
    kind_column: str = "db_type"


@dataclass(frozen=True, slots=True)
class ReportConfig:
    """A row of `report_configs`."""

    id: int
    name: str
    query: str = field(repr=False)
    output_format: str
    datasource_id: int
    file_name: str | None
    parameters: Mapping[str, Any]
    timeout_seconds: int
    max_rows: int
    is_active: bool
    created_by: str | None = None


@dataclass(frozen=True, slots=True)
class Schedule:
    """A row of `report_schedules`."""

    id: int
    config_id: int
    cron_expression: str
    timezone: str
    is_active: bool
    last_run_at: datetime | None
    next_run_at: datetime | None


@dataclass(frozen=True, slots=True)
class Recipient:
    """A row of `report_delivery_recipients`; its id is 0 for somebody who was named without one."""

    id: int
    kind: str
    value: str
    options: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Delivery:
    """A row of `report_deliveries` with its active recipients."""

    id: int
    config_id: int
    name: str
    method: str
    options: Mapping[str, Any] = field(repr=False)
    max_retry: int
    retry_interval_minutes: int
    recipients: tuple[Recipient, ...]
    is_active: bool = True
    method_column: str = "method"


@dataclass(frozen=True, slots=True)
class Execution:
    """A row of `report_executions`."""

    id: str
    config_id: int
    schedule_id: int | None
    status: str
    started_at: datetime | None
    completed_at: datetime | None
    executed_by: str
    context: Mapping[str, Any]
    query_ms: int | None
    rows_returned: int | None
    file_path: str | None
    file_size_bytes: int | None
    error_message: str | None


@dataclass(frozen=True, slots=True)
class ReportQuery:
    """One query of a report, the rows of one sheet.

    Attributes:
        name: The sheet's name; empty for a report of one query.
        sql: The template as its row has it.
        place: Where it is configured: `report_query`, `parameters.queries.Totals`.
        date_field: Column that the window restricts.
        filters: Conditions, their values still templates.
        display_columns: Columns that files show, in this order; none: all.
        own: Which of these three are the query's own, and not the report's: key → its place.
    """

    name: str
    sql: str = field(repr=False)
    place: str = "report_query"
    date_field: str | None = None
    filters: tuple[Mapping[str, Any], ...] = ()
    display_columns: tuple[str, ...] = ()
    own: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ReportSource:
    """A source of a report that joins several.

    Attributes:
        name: The table that its rows become.
        query: What it is asked; empty where its kind knows what that means.
    """

    name: str
    datasource_id: int
    query: ReportQuery


@dataclass(frozen=True, slots=True)
class Compression:
    """How files are packed: each into a gzip of its own, or all into one zip.

    Attributes:
        password_env: Environment variable that holds the zip's password; empty: it has none.
    """

    method: CompressionMethod
    password_env: str = ""


@dataclass(frozen=True, slots=True)
class ReportPlan:
    """Everything that the ops of one execution need to know, decided once; holds no secret.

    Attributes:
        queries: At least one; several have different names.
        formats: At least one; each is a file, or a file for each query.
        variables: Values of the template variables and `:name` binds, people's own overriding the defaults.
        deliver: `all`, `none`, or the addresses of a test run, which alone get it.
        warnings: What was tolerated on the way, one sentence each.
        sources: What the queries join; none where they ask the report's data source.
        script: Python that shapes the rows; empty where there is none.
    """

    execution_id: str
    config_id: int
    schedule_id: int | None
    datasource_id: int
    report_name: str
    queries: tuple[ReportQuery, ...]
    formats: tuple[str, ...]
    file_name: str
    window: TimeWindow
    variables: Mapping[str, TemplateValue]
    parameters: Mapping[str, Any]
    timeout_seconds: int
    max_rows: int
    deliver: Deliver
    executed_by: str
    compress: Compression | None = None
    warnings: tuple[str, ...] = ()
    sources: tuple[ReportSource, ...] = ()
    script: str = field(default="", repr=False)

    @property
    def is_test(self) -> bool:
        """True when it goes to whoever tries it, and to no recipient."""
        return isinstance(self.deliver, tuple)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a result: its distinct name and its Arrow type as text, e.g. `decimal128(12, 2)`."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class QueryResult:
    """A finished query: where its rows are and what is known about them.

    Attributes:
        spool: Arrow IPC file with the rows, whole.
        row_count: Rows in the spool.
        truncated: True when the source had more rows than `max_rows`.
        query_ms: Milliseconds from sending the query to the last row written.
        warnings: What the connector tolerated, one sentence each.
        name: Of the query; empty for a report of one.
    """

    spool: Path
    columns: tuple[Column, ...]
    row_count: int
    truncated: bool
    query_ms: int
    warnings: tuple[str, ...] = ()
    name: str = ""


@dataclass(frozen=True, slots=True)
class RenderedFile:
    """A finished file: `path` is whole and will not change.

    Attributes:
        name: File name as people see it, with its extension.
        size: Bytes.
        sha256: Hex digest of the bytes.
        row_count: Rows of the result that the file shows.
        truncated: True when the source had more rows than that.
        options: What it was made with, as `parameters.format` has it.
    """

    path: Path
    name: str
    format: str
    media_type: str
    size: int
    sha256: str
    row_count: int
    warnings: tuple[str, ...] = ()
    truncated: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MadeReport:
    """What a run has made of its plan so far: the one thing that its ops hand on.

    One record where three would do, because Dagster loads each input of an op by itself and writes two events
    about it.

    Attributes:
        results: Of the plan's queries, in their order.
        files: None of them before they are rendered.
        seconds: Since the run started, when the files were whole; None where this run has not made them.
    """

    plan: ReportPlan
    results: tuple[QueryResult, ...]
    files: tuple[RenderedFile, ...] = ()
    seconds: float | None = None


def total_rows(files: Iterable[RenderedFile]) -> int:
    """Rows of the result that files show together: every format shows them once."""
    by_format: Counter[str] = Counter()
    for file in files:
        by_format[file.format] += file.row_count
    return max(by_format.values(), default=0)


@dataclass(frozen=True, slots=True)
class DeliveryReceipt:
    """What became of one recipient in one attempt.

    Attributes:
        recipient: Address, or the label or path of a destination without addresses.
        state: `sent`; `refused` for good; `retry` when it may work later; `unknown` when the answer was lost.
        detail: The other side's answer or where the file is, in one redacted line.
        at: When the answer came.
        needs_person: It is refused until a person changes a row.
        retry_after: Seconds that the other side asked to wait before the next attempt, if it did.
        unreachable: Its server was away or fell silent: see `UnreachableError`.
    """

    delivery_id: int
    recipient: str
    state: ReceiptState
    detail: str
    at: datetime
    needs_person: bool = False
    retry_after: float | None = None
    unreachable: bool = False
