"""Commands that make the reports of the past."""

from __future__ import annotations

from uuid import uuid4

import click

from reporthub_dagster import backfill_status
from reporthub_dagster.backfilling import BackfillRequest, plan_backfill, queue_backfill
from reporthub_dagster.commands.common import (
    DELIVER_HELP,
    DONE,
    as_json_option,
    asker,
    errors_in_one_line,
    executed_by_option,
    open_hub,
    parameters_of,
    print_json,
)
from reporthub_dagster.db.backfills import Backfills
from reporthub_dagster.db.session import Hub
from reporthub_dagster.reporting.errors import ConfigurationError
from reporthub_dagster.settings import Settings


@click.command()
@click.argument("config_id", type=click.IntRange(min=1))
@click.option("--from", "start", required=True, help="Slots from here on, in the schedule's zone.")
@click.option("--to", "end", default="", help="Slots before this moment; without it, now.")
@click.option("--schedule-id", type=click.IntRange(min=1), help="Whose cron cuts the windows.")
@click.option("--only", type=click.Choice(["missing"]), help="Leave out what was made or is being made.")
@click.option("--param", "params", multiple=True, metavar="KEY=VALUE", help="A template variable.")
@click.option("--deliver", default="none", show_default=True, help=DELIVER_HELP)
@executed_by_option
@click.option("--dry-run", is_flag=True, help="Show the windows and queue nothing.")
@as_json_option
@errors_in_one_line
def backfill(
    config_id: int,
    start: str,
    end: str,
    schedule_id: int | None,
    only: str | None,
    params: tuple[str, ...],
    deliver: str,
    executed_by: str,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Queue an execution for each past slot of a report; they run as there is room and deliver nothing."""
    settings = Settings.load()
    hub = open_hub(settings)
    request = BackfillRequest(
        id=str(uuid4()),
        config_id=config_id,
        start=start,
        end=end,
        schedule_id=schedule_id,
        deliver=deliver,
        parameters=parameters_of(params),
        only_missing=only == "missing",
        executed_by=asker(settings, executed_by),
    )
    now = hub.now()
    plan = plan_backfill(hub, request, now=now, default_timezone=settings.default_timezone)
    queued = 0 if dry_run else queue_backfill(hub, plan, now)
    if as_json:
        print_json(backfill_status.plan_document(plan, queued))
    else:
        backfill_status.print_plan(plan, queued)
    return DONE


@click.command()
@click.argument("backfill_id", required=False)
@click.option("--cancel", is_flag=True, help="Cancel all of it that has not ended.")
@click.option("--limit", default=20, type=click.IntRange(1, 1000), help="The latest so many.")
@as_json_option
@errors_in_one_line
def backfills(backfill_id: str | None, cancel: bool, limit: int, as_json: bool) -> int:
    """Show how far backfills are, or one with what failed in it; --cancel ends that one."""
    settings = Settings.load()
    hub = open_hub(settings)
    if cancel:
        if backfill_id is None:
            raise ConfigurationError("which one is to be cancelled?", column="BACKFILL_ID")
        _cancel_backfill(settings, hub, backfill_id)
    documents = backfill_status.backfill_documents(Backfills(hub), backfill_id, limit)
    if backfill_id is not None and not documents:
        raise ConfigurationError("there is no such backfill", column="BACKFILL_ID", value=backfill_id)
    if as_json:
        print_json({"backfills": documents})
    else:
        backfill_status.print_backfills(documents)
    return DONE


def _cancel_backfill(settings: Settings, hub: Hub, backfill_id: str) -> None:
    from reporthub_dagster.instance import cancel_runs, choose_instance  # noqa: PLC0415 - Dagster loads slowly

    waited, executions = Backfills(hub).cancel(backfill_id, hub.now())
    runs = 0
    if executions:
        choose_instance(settings)
        runs = cancel_runs(executions)
    click.echo(f"{waited:,} executions that waited are cancelled, {runs:,} runs are told to end", err=True)
