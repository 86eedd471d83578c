"""What the run page shows: window, SQL, rows, file and receipts as Dagster metadata."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg

from reporthub_dagster.delivering import DeliveryOutcome
from reporthub_dagster.producing import Rows
from reporthub_dagster.reporting.records import QueryResult, RenderedFile, ReportPlan, TimeWindow
from reporthub_dagster.storage.spool import Spool

PREVIEW_ROWS = 20
_CELL_LIMIT = 200
_EXACT_IN_BROWSER = 2**53

Metadata = dict[str, Any]


def of_plan(plan: ReportPlan) -> Metadata:
    """The report and its window."""
    return {
        "report": f"{plan.report_name} (report_configs {plan.config_id})",
        "execution": plan.execution_id,
        "window": window_text(plan.window),
        "window_method": plan.window.method,
        "deliver": plan.deliver if isinstance(plan.deliver, str) else ", ".join(plan.deliver),
        **of_warnings(plan.warnings),
    }


def of_rows(rows: Rows) -> Metadata:
    """The query as it ran, how many rows came, and the first of them."""
    result = rows.result
    return {
        "sql": dg.MetadataValue.md(sql_markdown(rows.sql, rows.binds)),
        "dagster/row_count": result.row_count,
        "truncated": result.truncated,
        "query_ms": result.query_ms,
        "columns": dg.MetadataValue.md("\n".join(f"- `{c.name}` {c.type}" for c in result.columns)),
        "preview": preview(result),
        **of_warnings(result.warnings),
    }


def of_file(file: RenderedFile) -> Metadata:
    """Where the file is and how to recognise it."""
    return {
        "file": dg.MetadataValue.path(str(file.path)),
        "name": file.name,
        "size_bytes": file.size,
        "sha256": file.sha256,
        "dagster/row_count": file.row_count,
        **of_warnings(file.warnings),
    }


def of_deliveries(outcomes: Sequence[DeliveryOutcome]) -> Metadata:
    """One line per recipient."""
    records = [dg.TableRecord(line) for outcome in outcomes for line in _receipt_lines(outcome)]
    found: Metadata = {"receipts": dg.MetadataValue.table(records, schema=_RECEIPT_SCHEMA)} if records else {}
    retry_at = min((outcome.retry_at for outcome in outcomes if outcome.retry_at), default=None)
    return {**found, "retry_at": dg.MetadataValue.timestamp(retry_at)} if retry_at else found


def of_warnings(warnings: Iterable[str]) -> Metadata:
    """What was tolerated, as a list; nothing when there was nothing."""
    text = "\n".join(f"- {warning}" for warning in warnings)
    return {"warnings": dg.MetadataValue.md(text)} if text else {}


def window_text(window: TimeWindow) -> str:
    """The half-open window in its own zone."""
    zone = ZoneInfo(window.timezone)
    start, end = (moment.astimezone(zone).isoformat(sep=" ") for moment in (window.start, window.end))
    return f"[{start}, {end}) {window.timezone}"


def sql_markdown(sql: str, binds: Mapping[str, Any]) -> str:
    """The SQL with `:names`, and a table of what they are bound to."""
    lines = ["```sql", sql, "```"]
    if binds:
        lines += ["", "| bind | value |", "|---|---|"]
        lines += [f"| `:{name}` | `{_cell(value)}` |" for name, value in binds.items()]
    return "\n".join(lines)


def preview(result: QueryResult) -> dg.TableMetadataValue:
    """The first rows, every value short enough to look at."""
    names = [column.name for column in result.columns]
    table = Spool.open(result.spool).head(PREVIEW_ROWS)
    values = [[_cell(value) for value in column.to_pylist()] for column in table.columns]
    records = [dg.TableRecord(dict(zip(names, row, strict=True))) for row in zip(*values, strict=True)]
    columns = [dg.TableColumn(column.name, column.type) for column in result.columns]
    return dg.MetadataValue.table(records, schema=dg.TableSchema(columns))


_RECEIPT_SCHEMA = dg.TableSchema(
    [dg.TableColumn(name) for name in ("delivery", "method", "recipient", "state", "detail")]
)


def _receipt_lines(outcome: DeliveryOutcome) -> Iterable[Mapping[str, str]]:
    head = {"delivery": f"{outcome.delivery_id} {outcome.name}", "method": outcome.method}
    for receipt in outcome.receipts:
        yield {**head, "recipient": receipt.recipient, "state": receipt.state, "detail": receipt.detail}
    for recipient in outcome.already:
        yield {**head, "recipient": recipient, "state": "sent", "detail": "in an earlier run"}


def _cell(value: Any) -> str | int | float | bool | None:
    if (
        value is None
        or isinstance(value, bool)
        or (isinstance(value, int) and abs(value) <= _EXACT_IN_BROWSER)
    ):
        return value
    text = value.hex() if isinstance(value, bytes) else str(value)
    return text if len(text) <= _CELL_LIMIT else f"{text[: _CELL_LIMIT - 1]}…"
