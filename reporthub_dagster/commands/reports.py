"""Commands about reports: run one, look at it, deliver it again."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from reporthub_dagster import output
from reporthub_dagster.checking import CONNECT_SECONDS
from reporthub_dagster.commands.common import (
    DELIVER_HELP,
    DONE,
    FAILED,
    FIX,
    as_json_option,
    asker,
    errors_in_one_line,
    executed_by_option,
    of_a_report,
    open_hub,
    parameters_of,
    print_json,
)
from reporthub_dagster.db.deliveries import DeliveryLedger
from reporthub_dagster.db.executions import Executions
from reporthub_dagster.db.repository import Repository
from reporthub_dagster.db.session import Hub
from reporthub_dagster.planning import ReportRequest, plan_report
from reporthub_dagster.producing import estimates, read_rows
from reporthub_dagster.reporting.errors import ConfigurationError, PermanentError
from reporthub_dagster.reporting.records import Execution
from reporthub_dagster.settings import Settings
from reporthub_dagster.storage.execution_folder import ExecutionFolder


@click.command()
@of_a_report
@click.option("--deliver", default="all", show_default=True, help=DELIVER_HELP)
@executed_by_option
@as_json_option
@errors_in_one_line
def run(
    config_id: int,
    schedule_id: int | None,
    start: str,
    end: str,
    params: tuple[str, ...],
    deliver: str,
    executed_by: str,
    as_json: bool,
) -> int:
    """Run a report now, in this process, as a Dagster run; exit 0 only when everything was delivered."""
    from reporthub_dagster.instance import choose_instance, run_report  # noqa: PLC0415 - Dagster loads slowly

    settings = Settings.load()
    choose_instance(settings)
    hub = open_hub(settings)
    Repository(hub).require(config_id=config_id, schedule_id=schedule_id)
    finished = run_report(
        {
            "config_id": config_id,
            "schedule_id": schedule_id or 0,
            "start": start,
            "end": end,
            "parameters": parameters_of(params),
            "deliver": deliver,
            "executed_by": asker(settings, executed_by),
        }
    )
    execution = Executions(hub).find(finished.run_id)
    if execution is None:
        raise PermanentError(finished.error or f"run {finished.run_id} ended before its first step")
    return _print_outcome(hub, execution, as_json=as_json)


@click.command()
@click.argument("execution_id")
@click.option("--delivery", "delivery_id", type=click.IntRange(min=1), help="Only this delivery.")
@click.option("--recipient", default="", help="Only this recipient.")
@click.option("--include-unknown", is_flag=True, help="Also those who may have it: the answer was lost.")
@as_json_option
@errors_in_one_line
def redeliver(
    execution_id: str, delivery_id: int | None, recipient: str, include_unknown: bool, as_json: bool
) -> int:
    """Deliver the files of an execution again, the same bytes, to those who have not got them."""
    from reporthub_dagster.instance import choose_instance, run_redelivery  # noqa: PLC0415 - Dagster loads slowly

    settings = Settings.load()
    choose_instance(settings)
    hub = open_hub(settings)
    finished = run_redelivery(
        {
            "execution_id": execution_id,
            "delivery_id": delivery_id or 0,
            "recipient": recipient,
            "include_unknown": include_unknown,
        }
    )
    execution = Executions(hub).find(execution_id)
    if execution is None:
        raise ConfigurationError("there is no such execution", column="EXECUTION_ID", value=execution_id)
    if execution.context.get("dagster_run_id") != finished.run_id:
        raise PermanentError(finished.error or "another run is at work on it; see: reporthub executions")
    return _print_outcome(hub, execution, as_json=as_json)


def _print_outcome(hub: Hub, execution: Execution, *, as_json: bool) -> int:
    """Show an execution that has just been worked on; returns the exit code."""
    receipts = DeliveryLedger(hub).receipts(execution.id)
    if as_json:
        print_json(output.execution_document(execution, receipts))
    else:
        output.print_execution(execution, receipts)
    if execution.status == "completed":
        return DONE
    return FIX if execution.context.get("error_kind") == ConfigurationError.__name__ else FAILED


@click.command()
@of_a_report
@click.option("--limit", default=20, type=click.IntRange(1, 1000), help="Rows to show.")
@click.option("--dry-run", is_flag=True, help="Run nothing: say what it would read, where the source can.")
@as_json_option
@errors_in_one_line
def preview(
    config_id: int,
    schedule_id: int | None,
    start: str,
    end: str,
    params: tuple[str, ...],
    limit: int,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Show a report's SQL with its parameters, its window, columns and first rows; delivers nothing."""
    settings = Settings.load()
    repository = Repository(open_hub(settings))
    request = ReportRequest(
        config_id, schedule_id, start=start, end=end, parameters=parameters_of(params), deliver="none"
    )
    plan = plan_report(
        repository,
        request,
        execution_id="preview",
        now=datetime.now(UTC),
        default_timezone=settings.default_timezone,
    )
    if dry_run:
        found = estimates(plan, repository, CONNECT_SECONDS)
        if as_json:
            print_json({"config_id": plan.config_id, "queries": found})
        else:
            output.print_estimates(found)
        return DONE
    with TemporaryDirectory(prefix="reporthub-preview-") as folder:
        # A script sees all rows: what it makes of the first few would not be what the report shows.
        short = plan if plan.script else replace(plan, max_rows=min(limit, plan.max_rows))
        say = partial(click.echo, err=True)
        rows = read_rows(short, repository, ExecutionFolder(Path(folder)), lambda _: None, say=say)
        if as_json:
            print_json(output.preview_document(plan, rows, limit))
        else:
            output.print_preview(plan, rows, limit)
    return DONE


@click.command()
@click.option("--config-id", type=click.IntRange(min=1), help="Only of this report.")
@click.option("--status", help="Only in this status: queued, running, completed, failed, cancelled.")
@click.option("--limit", default=50, type=click.IntRange(1, 10_000), help="The latest so many.")
@as_json_option
@errors_in_one_line
def executions(config_id: int | None, status: str | None, limit: int, as_json: bool) -> int:
    """List the latest executions."""
    found = Executions(open_hub(Settings.load())).latest(config_id=config_id, status=status, limit=limit)
    if as_json:
        print_json({"executions": [output.execution_document(execution, None) for execution in found]})
    else:
        output.print_executions(found)
    return DONE
