"""What the command line prints: executions and previews, for people and as JSON documents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click
import pyarrow as pa

from reporthub_dagster.producing import ReportRows, Rows, json_value
from reporthub_dagster.purging import Verdict
from reporthub_dagster.reporting.kept_window import window_to_json
from reporthub_dagster.reporting.records import Execution, QueryResult, ReportPlan
from reporthub_dagster.storage.spool import Spool

_CELL = 40

Receipt = dict[str, Any]


def execution_document(execution: Execution, receipts: Sequence[Receipt] | None) -> dict[str, Any]:
    """An execution as `--json` prints it; without receipts where nobody asked for them."""
    context = execution.context
    document = {
        "execution_id": execution.id,
        "run_id": context.get("dagster_run_id"),
        "config_id": execution.config_id,
        "schedule_id": execution.schedule_id,
        "status": execution.status,
        "executed_by": execution.executed_by,
        "started_at": execution.started_at.isoformat() if execution.started_at else None,
        "completed_at": execution.completed_at.isoformat() if execution.completed_at else None,
        "window": context.get("time_range"),
        "rows_returned": execution.rows_returned,
        "truncated": context.get("truncated", False),
        "files": files_of(execution),
        "warnings": context.get("warnings", []),
        "error": execution.error_message,
    }
    return document if receipts is None else {**document, "receipts": list(receipts)}


def files_of(execution: Execution) -> list[Mapping[str, Any]]:
    """The files of an execution; of one that an earlier release ran, the one that its columns name."""
    files = execution.context.get("files")
    if isinstance(files, list):
        return files
    if not execution.file_path:
        return []
    sha256 = execution.context.get("file_sha256")
    return [{"path": execution.file_path, "size": execution.file_size_bytes, "sha256": sha256}]


def print_execution(execution: Execution, receipts: Sequence[Receipt]) -> None:
    """An execution for a person: what was made, who has it, what went wrong."""
    window = execution.context.get("time_range") or {}
    click.echo(f"execution  {execution.id}: {execution.status}")
    if window:
        click.echo(f"window     {window['start_datetime']} to {window['end_datetime']} {window['timezone']}")
    if execution.rows_returned is not None:
        cut = " (cut at max_rows)" if execution.context.get("truncated") else ""
        click.echo(f"rows       {execution.rows_returned:,}{cut}")
    for file in files_of(execution):
        click.echo(f"file       {file['path']} ({file['size']:,} bytes)")
    for receipt in receipts:
        later = f"; next attempt {receipt['next_attempt_at']}" if receipt["next_attempt_at"] else ""
        click.echo(f"{receipt['state']:<10} {receipt['recipient']}: {receipt['detail']}{later}")
    if execution.error_message:
        click.echo(f"error      {execution.error_message}", err=True)


def print_executions(executions: Iterable[Execution]) -> None:
    """A line for each execution."""
    lines = [("execution", "report", "schedule", "status", "started (UTC)", "rows", "by", "error")]
    lines += [
        (
            execution.id,
            str(execution.config_id),
            str(execution.schedule_id or ""),
            execution.status,
            f"{execution.started_at:%Y-%m-%d %H:%M:%S}" if execution.started_at else "",
            "" if execution.rows_returned is None else f"{execution.rows_returned:,}",
            execution.executed_by,
            _short(execution.error_message or ""),
        )
        for execution in executions
    ]
    _print_table(lines)


def preview_document(plan: ReportPlan, report: ReportRows, limit: int) -> dict[str, Any]:
    """A preview as `--json` prints it; values that JSON has no type for are text.

    The first query stands at the top, as that of a report of one, and all of them in `queries`; what a script
    made of them in `after_script`.
    """
    queries = [_query_document(rows, limit) for rows in report.queries]
    return {
        "config_id": plan.config_id,
        "report_name": plan.report_name,
        "window": window_to_json(plan.window),
        "formats": list(plan.formats),
        **{key: value for key, value in queries[0].items() if key != "name"},
        "queries": queries,
        **({"after_script": [_shown(result, limit) for result in report.results]} if report.shaped else {}),
        "warnings": [*plan.warnings, *report.warnings],
    }


def print_preview(plan: ReportPlan, report: ReportRows, limit: int) -> None:
    """A preview for a person."""
    window = window_to_json(plan.window)
    click.echo(f"report   {plan.report_name} (report_configs {plan.config_id})")
    click.echo(
        f"window   {window['start_datetime']} to {window['end_datetime']} {window['timezone']} "
        f"({window['calculation_method']})"
    )
    click.echo(f"formats  {', '.join(plan.formats)}")
    for rows in report.queries:
        _print_rows(rows, limit)
    for result in report.results if report.shaped else ():
        click.echo(f"\nafter the script{f', {result.name}' if result.name else ''}\n")
        _print_result(result, limit)
    for warning in (*plan.warnings, *report.warnings):
        click.echo(f"warning: {warning}", err=True)


def print_estimates(queries: Iterable[Mapping[str, Any]]) -> None:
    """What queries would read, for a person."""
    for query in queries:
        click.echo(f"\n{query['sql']}\n")
        for name, value in query["parameters"].items():
            click.echo(f"  :{name} = {value!r}")
        size = query["bytes"]
        click.echo("its source does not say what it reads" if size is None else f"would read {size:,} bytes")


def _query_document(rows: Rows, limit: int) -> dict[str, Any]:
    return {"sql": rows.sql, "parameters": dict(rows.binds), **_shown(rows.result, limit)}


def _shown(result: QueryResult, limit: int) -> dict[str, Any]:
    table = Spool.open(result.spool).head(limit)
    return {
        "name": result.name,
        "columns": [{"name": column.name, "type": column.type} for column in result.columns],
        "rows": [[json_value(value) for value in row] for row in _rows_of(table)],
        "more_rows": result.truncated or result.row_count > limit,
    }


def _print_rows(rows: Rows, limit: int) -> None:
    if rows.result.name:
        click.echo(f"\nquery    {rows.result.name}")
    click.echo(f"\n{rows.sql}\n")
    for name, value in rows.binds.items():
        click.echo(f"  :{name} = {value!r}")
    click.echo("")
    _print_result(rows.result, limit)


def _print_result(result: QueryResult, limit: int) -> None:
    table = Spool.open(result.spool).head(limit)
    _print_table(
        [
            tuple(f"{column.name}" for column in result.columns),
            tuple(f"{column.type}" for column in result.columns),
            *(
                tuple("NULL" if value is None else _short(str(value)) for value in row)
                for row in _rows_of(table)
            ),
        ]
    )
    more = "; there are more" if result.truncated or result.row_count > limit else ""
    click.echo(f"\n{table.num_rows} rows{more}", err=True)


def purge_document(verdicts: Sequence[Verdict], *, dry: bool) -> dict[str, Any]:
    """What a purge did, or would do, as `--json` prints it."""
    counts = Counter(verdict.fate for verdict in verdicts)
    return {
        "dry_run": dry,
        "purged": [one.name for one in verdicts if one.fate == "purged"],
        "bytes": sum(verdict.bytes for verdict in verdicts),
        "kept": {fate: counts[fate] for fate in ("young", "needed", "foreign")},
    }


def print_purge(verdicts: Sequence[Verdict], *, dry: bool) -> None:
    """What a purge did, or would do: a line for each folder that goes, and for each that is not ours."""
    document = purge_document(verdicts, dry=dry)
    for verdict in verdicts:
        if verdict.fate == "purged":
            click.echo(f"{'would remove' if dry else 'removed'}  {verdict.name}  {verdict.bytes:,} bytes")
        elif verdict.fate == "foreign":
            click.echo(
                f"left alone  {verdict.name}: not an execution's, or with files of somebody else", err=True
            )
    kept = ", ".join(f"{count} {fate}" for fate, count in document["kept"].items())
    click.echo(f"{len(document['purged'])} folders, {document['bytes']:,} bytes; kept: {kept}", err=True)


def _rows_of(table: pa.Table) -> Iterable[tuple[Any, ...]]:
    return zip(*(column.to_pylist() for column in table.columns), strict=True)


def _print_table(lines: Sequence[Sequence[str]]) -> None:
    widths = [max(len(line[position]) for line in lines) for position in range(len(lines[0]))]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _CELL else f"{line[: _CELL - 1]}…"
