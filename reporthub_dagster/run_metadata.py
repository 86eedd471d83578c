"""What the run page shows: window, SQL, rows, file and receipts as Dagster metadata."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

import dagster as dg

from reporthub_dagster.backfilling import BackfillPlan
from reporthub_dagster.delivery_outcome import DeliveryOutcome
from reporthub_dagster.reporting.records import (
    Execution,
    MadeReport,
    QueryResult,
    RenderedFile,
    ReportPlan,
    TimeWindow,
    total_rows,
)
from reporthub_dagster.settings import Settings

if TYPE_CHECKING:
    from reporthub_dagster.producing import ReportRows, Rows

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


def of_rows(report: ReportRows) -> Metadata:
    """The queries as they ran, how many rows came, and the first of them."""
    results = report.results
    return {
        "sql": dg.MetadataValue.md("\n\n".join(_sql_of(rows) for rows in report.queries)),
        "dagster/row_count": sum(result.row_count for result in results),
        "truncated": any(result.truncated for result in results),
        "query_ms": sum(result.query_ms for result in results),
        **{_key("columns", result.name): _columns_of(result) for result in results},
        **{_key("preview", result.name): preview(result) for result in results},
        **of_warnings(report.warnings),
    }


def lines_of_rows(report: ReportRows) -> Iterator[str]:
    """A sentence for each query."""
    for rows in report.queries:
        origin = "an earlier attempt had read them" if rows.reused else f"{rows.result.query_ms:,} ms"
        place = f"{rows.result.name}: " if rows.result.name else ""
        yield f"{place}{rows.result.row_count:,} rows from {report.source.name} ({origin})"
    if report.shaped:
        origin = (
            "an earlier attempt had run it" if report.shaped.reused else f"{report.shaped.milliseconds:,} ms"
        )
        yield f"The script: {sum(result.row_count for result in report.results):,} rows ({origin})"


def of_files(files: Sequence[RenderedFile]) -> Metadata:
    """Where the files are and how to recognise them."""
    first = files[0]
    records = [
        dg.TableRecord(
            {
                "name": file.name,
                "format": file.format,
                "rows": file.row_count,
                "truncated": file.truncated,
                "size_bytes": file.size,
                "sha256": file.sha256,
            }
        )
        for file in files
    ]
    several = len(files) > 1
    return {
        **{_key("file", file.name if several else ""): _place(file.path) for file in files},
        "name": ", ".join(file.name for file in files),
        "size_bytes": sum(file.size for file in files),
        "sha256": first.sha256,
        "dagster/row_count": total_rows(files),
        **({"files": dg.MetadataValue.table(records, schema=_FILE_SCHEMA)} if several else {}),
        **of_warnings(warning for file in files for warning in file.warnings),
    }


def of_product(report: MadeReport) -> Metadata:
    """What a report has become: what Dagster's catalog keeps and plots."""
    return {
        **of_files(report.files),
        **of_plan(report.plan),
        **({} if report.seconds is None else {"seconds": report.seconds}),
        "query_seconds": sum(result.query_ms for result in report.results) / 1000,
        "truncated": any(result.truncated for result in report.results),
    }


def of_execution(execution: Execution) -> Metadata:
    """The execution, and the last run that worked on it."""
    run_id = execution.context.get("dagster_run_id")
    link = {"run": dg.MetadataValue.dagster_run(run_id)} if run_id else {}
    return {"execution": execution.id, **link}


def of_deliveries(outcomes: Sequence[DeliveryOutcome]) -> Metadata:
    """One line per recipient."""
    records = [dg.TableRecord(line) for outcome in outcomes for line in _receipt_lines(outcome)]
    found: Metadata = {"receipts": dg.MetadataValue.table(records, schema=_RECEIPT_SCHEMA)} if records else {}
    retry_at = min((outcome.retry_at for outcome in outcomes if outcome.retry_at), default=None)
    return {**found, "retry_at": dg.MetadataValue.timestamp(retry_at)} if retry_at else found


def of_backfill(plan: BackfillPlan, queued: int) -> Metadata:
    """Which windows were queued, and how to see what becomes of them."""
    windows = plan.wanted
    return {
        "backfill": plan.request.id,
        "queued": queued,
        "left_out": plan.left_out,
        "first_window": window_text(windows[0]) if windows else "none",
        "last_window": window_text(windows[-1]) if windows else "none",
        "deliver": plan.request.deliver,
        "progress": dg.MetadataValue.md(f"`reporthub backfills {plan.request.id}`, `--cancel` ends it"),
    }


def of_warnings(warnings: Iterable[str]) -> Metadata:
    """What was tolerated, as a list; nothing when there was nothing."""
    text = "\n".join(f"- {warning}" for warning in warnings)
    return {"warnings": dg.MetadataValue.md(text)} if text else {}


def window_text(window: TimeWindow) -> str:
    """The half-open window in its own zone."""
    zone = ZoneInfo(window.timezone)
    start, end = (moment.astimezone(zone).isoformat(sep=" ") for moment in (window.start, window.end))
    return f"[{start}, {end}) {window.timezone}"


def sql_markdown(sql: str, binds: Mapping[str, Any], title: str = "") -> str:
    """The SQL with `:names`, and a table of what they are bound to."""
    lines = [f"**{title}**", ""] if title else []
    lines += ["```sql", sql, "```"]
    if binds:
        lines += ["", "| bind | value |", "|---|---|"]
        lines += [f"| `:{name}` | `{_cell(value)}` |" for name, value in binds.items()]
    return "\n".join(lines)


def preview(result: QueryResult) -> dg.TableMetadataValue:
    """The first rows, every value short enough to look at."""
    from reporthub_dagster.storage.spool import Spool  # noqa: PLC0415 - Arrow loads slowly

    names = [column.name for column in result.columns]
    table = Spool.open(result.spool).head(PREVIEW_ROWS)
    values = [[_cell(value) for value in column.to_pylist()] for column in table.columns]
    records = [dg.TableRecord(dict(zip(names, row, strict=True))) for row in zip(*values, strict=True)]
    columns = [dg.TableColumn(column.name, column.type) for column in result.columns]
    return dg.MetadataValue.table(records, schema=dg.TableSchema(columns))


_FILE_SCHEMA = dg.TableSchema(
    [
        dg.TableColumn("name"),
        dg.TableColumn("format"),
        dg.TableColumn("rows", "int"),
        dg.TableColumn("truncated", "bool"),
        dg.TableColumn("size_bytes", "int"),
        dg.TableColumn("sha256"),
    ]
)
_RECEIPT_SCHEMA = dg.TableSchema(
    [dg.TableColumn(name) for name in ("delivery", "method", "recipient", "state", "detail")]
)


def _place(path: Path) -> dg.PathMetadataValue | dg.UrlMetadataValue:
    """Where people find a file: below REPORTHUB_FILES_URL, else on the machine that made it."""
    settings = Settings.load()
    if settings.files_url and path.is_relative_to(settings.output_folder):
        below = quote(path.relative_to(settings.output_folder).as_posix())
        return dg.MetadataValue.url(f"{settings.files_url.rstrip('/')}/{below}")
    return dg.MetadataValue.path(str(path))


def _sql_of(rows: Rows) -> str:
    return sql_markdown(rows.sql, rows.binds, rows.result.name)


def _columns_of(result: QueryResult) -> dg.MarkdownMetadataValue:
    return dg.MetadataValue.md("\n".join(f"- `{column.name}` {column.type}" for column in result.columns))


def _key(word: str, name: str) -> str:
    return f"{word}: {name}" if name else word


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
