"""The `reporthub` command: one command per job that a person has, errors in one line.

Exit codes: 0 done, 1 failed, 2 a person must fix a row or a setting. With `--json` stdout holds one JSON
document and nothing else; progress and messages go to stderr.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import wraps
from getpass import getuser
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn, ParamSpec
from uuid import uuid4

import click
from dotenv import load_dotenv

from reporthub_dagster import backfill_status, output
from reporthub_dagster.backfilling import BackfillRequest, plan_backfill, queue_backfill
from reporthub_dagster.checking import Checker
from reporthub_dagster.db.backfills import Backfills
from reporthub_dagster.db.deliveries import DeliveryLedger
from reporthub_dagster.db.executions import Executions
from reporthub_dagster.db.repository import Repository
from reporthub_dagster.db.session import Hub
from reporthub_dagster.db.slots import Slots
from reporthub_dagster.db.uses import Uses
from reporthub_dagster.mailing import destination_settings
from reporthub_dagster.planning import ReportRequest, plan_report
from reporthub_dagster.producing import read_rows
from reporthub_dagster.purging import Purge, parse_age
from reporthub_dagster.reporting.errors import ConfigurationError, PermanentError, ReportHubError
from reporthub_dagster.reporting.records import Execution
from reporthub_dagster.settings import Settings
from reporthub_dagster.status import Limits, print_status, status_document
from reporthub_dagster.storage.execution_folder import ExecutionFolder
from reporthub_dagster.timetable import Timetable, print_schedule
from reporthub_dagster.trial import Trial, try_data_source, try_delivery

P = ParamSpec("P")
DONE, FAILED, FIX = 0, 1, 2


def _errors_in_one_line(command: Callable[P, int]) -> Callable[P, NoReturn]:
    """Turn our errors into a line on stderr and an exit code; with `--json` also into the document."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> NoReturn:
        try:
            code = command(*args, **kwargs)
        except (ReportHubError, OSError) as raised:
            error = raised if isinstance(raised, ReportHubError) else _of_files(raised)
            if kwargs.get("as_json"):
                _print_json({"status": "failed", "error": str(error)})
            click.echo(f"reporthub: {error}", err=True)
            code = FIX if isinstance(error, ConfigurationError) else FAILED
        sys.exit(code)

    return run


def _of_files(error: OSError) -> ConfigurationError:
    place = f" {error.filename}" if error.filename else ""
    return ConfigurationError(
        f"a folder cannot be used:{place}: {error.strerror or error}",
        column="REPORTHUB_HOME or REPORT_OUTPUT_PATH",
    )


def _of_a_report(command: Callable[..., NoReturn]) -> Callable[..., NoReturn]:
    """Arguments of every command that is about one report and its window."""
    for option in (
        click.option("--param", "params", multiple=True, metavar="KEY=VALUE", help="A template variable."),
        click.option("--end", default="", help="First moment after the window."),
        click.option("--start", default="", help="First moment of the window, in the schedule's zone."),
        click.option("--schedule-id", type=click.IntRange(min=1), help="Gives the zone and the window."),
        click.argument("config_id", type=click.IntRange(min=1)),
    ):
        command = option(command)
    return command


_as_json = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="reporthub-dagster")
def main() -> None:
    """Scheduled reports: rows of a shared database become files in people's hands."""
    load_dotenv(Path.cwd() / ".env")


@main.command()
@_errors_in_one_line
def init() -> int:
    """Create what is absent: tables, output folder, the embedded Dagster instance."""
    from reporthub_dagster.instance import write_embedded_instance  # noqa: PLC0415 - Dagster loads slowly

    settings = Settings.load()
    created = _hub(settings).create_missing_tables()
    click.echo(f"tables: {', '.join(created) if created else 'all there'}")
    settings.output_folder.mkdir(parents=True, exist_ok=True)
    click.echo(f"output folder: {settings.output_folder}")
    written = write_embedded_instance(settings)
    click.echo(f"embedded Dagster instance: {settings.dagster_home}{'' if written else ' (was there)'}")
    return DONE


@main.command()
@_as_json
@_errors_in_one_line
def check(as_json: bool) -> int:
    """Connect to everything and try every active row; one line per finding, exit 1 if there is any."""
    settings = Settings.load()
    checker = Checker(
        Repository(_hub(settings)),
        destination_settings(settings),
        settings.default_timezone,
        datetime.now(UTC),
        _progress_line,
    )
    findings = list(checker.findings())
    _progress_line("")
    if as_json:
        _print_json({"findings": [{"severity": f.severity, "text": f.text} for f in findings]})
    else:
        for finding in findings:
            click.echo(f"{finding.severity}: {finding.text}")
        click.echo(f"{len(findings)} findings" if findings else "everything is in order", err=True)
    return FAILED if findings else DONE


@main.command()
@_of_a_report
@click.option("--deliver", default="all", help="all, none, or your own address: a test run.")
@click.option("--executed-by", default=getuser, show_default="you", help="Who asked.")
@_as_json
@_errors_in_one_line
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
    from reporthub_dagster.instance import choose_instance, run_report  # noqa: PLC0415 - as above

    settings = Settings.load()
    choose_instance(settings)
    hub = _hub(settings)
    Repository(hub).require(config_id=config_id, schedule_id=schedule_id)
    finished = run_report(
        {
            "config_id": config_id,
            "schedule_id": schedule_id or 0,
            "start": start,
            "end": end,
            "parameters": _parameters(params),
            "deliver": deliver,
            "executed_by": executed_by,
        }
    )
    execution = Executions(hub).find(finished.run_id)
    if execution is None:
        raise PermanentError(finished.error or f"run {finished.run_id} ended before its first step")
    return _print_outcome(hub, execution, as_json=as_json)


@main.command()
@click.argument("execution_id")
@click.option("--delivery", "delivery_id", type=click.IntRange(min=1), help="Only this delivery.")
@click.option("--recipient", default="", help="Only this recipient.")
@click.option("--include-unknown", is_flag=True, help="Also those who may have it: the answer was lost.")
@_as_json
@_errors_in_one_line
def redeliver(
    execution_id: str, delivery_id: int | None, recipient: str, include_unknown: bool, as_json: bool
) -> int:
    """Deliver the files of an execution again, the same bytes, to those who have not got them."""
    from reporthub_dagster.instance import choose_instance, run_redelivery  # noqa: PLC0415 - as above

    settings = Settings.load()
    choose_instance(settings)
    hub = _hub(settings)
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


@main.command()
@_of_a_report
@click.option("--limit", default=20, type=click.IntRange(1, 1000), help="Rows to show.")
@_as_json
@_errors_in_one_line
def preview(
    config_id: int,
    schedule_id: int | None,
    start: str,
    end: str,
    params: tuple[str, ...],
    limit: int,
    as_json: bool,
) -> int:
    """Show a report's SQL with its parameters, its window, columns and first rows; delivers nothing."""
    settings = Settings.load()
    repository = Repository(_hub(settings))
    request = ReportRequest(
        config_id, schedule_id, start=start, end=end, parameters=_parameters(params), deliver="none"
    )
    plan = plan_report(
        repository,
        request,
        execution_id="preview",
        now=datetime.now(UTC),
        default_timezone=settings.default_timezone,
    )
    with TemporaryDirectory(prefix="reporthub-preview-") as folder:
        short = replace(plan, max_rows=min(limit, plan.max_rows))
        rows = read_rows(short, repository, ExecutionFolder(Path(folder)), lambda _: None)
        if as_json:
            _print_json(output.preview_document(plan, rows, limit))
        else:
            output.print_preview(plan, rows, limit)
    return DONE


@main.command()
@click.option("--config-id", type=click.IntRange(min=1), help="Only of this report.")
@click.option("--status", help="Only in this status: queued, running, completed, failed, cancelled.")
@click.option("--limit", default=50, type=click.IntRange(1, 10_000), help="The latest so many.")
@_as_json
@_errors_in_one_line
def executions(config_id: int | None, status: str | None, limit: int, as_json: bool) -> int:
    """List the latest executions."""
    found = Executions(_hub(Settings.load())).latest(config_id=config_id, status=status, limit=limit)
    if as_json:
        _print_json({"executions": [output.execution_document(execution, None) for execution in found]})
    else:
        output.print_executions(found)
    return DONE


@main.command()
@click.option("--next", "ahead", default=3, type=click.IntRange(0, 100), help="Slots of the future to show.")
@_as_json
@_errors_in_one_line
def schedules(ahead: int, as_json: bool) -> int:
    """Show each active schedule: its last slots with their fate, and the next ones, in its zone and UTC."""
    settings = Settings.load()
    hub = _hub(settings)
    timetable = Timetable(Repository(hub), Slots(hub), settings.schedule_policy, hub.now(), ahead)
    documents = list(timetable.documents())
    if as_json:
        _print_json({"schedules": documents})
    else:
        for document in documents:
            print_schedule(document)
    return DONE


@main.command()
@_as_json
@_errors_in_one_line
def status(as_json: bool) -> int:
    """Say whether schedulers live and reports are on time; exit 1 when not. A monitor may call it often."""
    settings = Settings.load()
    limits = Limits(
        timedelta(minutes=settings.late_minutes), timedelta(seconds=settings.sensor_interval_seconds)
    )
    with closing(_hub(settings)) as hub:
        document = status_document(hub, limits)
    if as_json:
        _print_json(document)
    else:
        print_status(document)
    return DONE if document["ok"] else FAILED


@main.command()
@click.option("--concurrency", default=os.cpu_count() or 1, type=click.IntRange(1, 256), show_default="CPUs")
@click.option(
    "--max-runs", default=500, type=click.IntRange(min=1), help="Renew a process after so many runs."
)
@click.option("--max-memory", default=800, type=click.IntRange(min=50), help="Renew it at so many megabytes.")
@click.option("--grace", default=300, type=click.IntRange(min=0), help="Seconds to end in after SIGTERM.")
@_errors_in_one_line
def worker(concurrency: int, max_runs: int, max_memory: int, grace: int) -> int:
    """Run reports as they come from the broker in REPORTHUB_BROKER_URL, in warm processes, until SIGTERM."""
    from reporthub_dagster.instance import choose_instance  # noqa: PLC0415 - as above

    settings = Settings.load()
    if settings.broker_url is None:
        raise ConfigurationError(
            "there is no broker", column="REPORTHUB_BROKER_URL", valid="amqp://… of RabbitMQ, or redis://…"
        )
    if find_spec("celery") is None:
        raise ConfigurationError(
            "a worker needs the package 'celery'",
            valid="install it with: pip install 'reporthub-dagster[celery]'",
        )
    from reporthub_dagster.worker.process import WorkerOptions, work  # noqa: PLC0415 - an extra

    choose_instance(settings)
    options = WorkerOptions(concurrency, max_runs, max_memory, grace, settings.log_level)
    return work(settings.broker_url.get_secret_value(), options)


def _print_outcome(hub: Hub, execution: Execution, *, as_json: bool) -> int:
    """Show an execution that has just been worked on; returns the exit code."""
    receipts = DeliveryLedger(hub).receipts(execution.id)
    if as_json:
        _print_json(output.execution_document(execution, receipts))
    else:
        output.print_execution(execution, receipts)
    if execution.status == "completed":
        return DONE
    return FIX if execution.context.get("error_kind") == ConfigurationError.__name__ else FAILED


@main.command()
@click.option("--older-than", required=True, metavar="AGE", help="30d, 12h or 8w since they were last used.")
@click.option("--dry-run", is_flag=True, help="Remove nothing, say what would be.")
@_as_json
@_errors_in_one_line
def purge(older_than: str, dry_run: bool, as_json: bool) -> int:
    """Remove the files of executions that are over and old; their rows stay."""
    settings = Settings.load()
    hub = _hub(settings)
    before = hub.now() - parse_age(older_than)
    verdicts = list(Purge(settings.output_folder, Uses(hub).of, before, dry=dry_run).run())
    if as_json:
        _print_json(output.purge_document(verdicts, dry=dry_run))
    else:
        output.print_purge(verdicts, dry=dry_run)
    return DONE


@main.command("test-delivery")
@click.argument("delivery_id", type=click.IntRange(min=1))
@click.option("--to", default="", help="Of an e-mail delivery: an address that gets a small test file.")
@_as_json
@_errors_in_one_line
def try_one_delivery(delivery_id: int, to: str, as_json: bool) -> int:
    """Try one delivery: connect, authenticate, write a probe where that is harmless; delivers no report."""
    settings = Settings.load()
    return _print_trial(
        try_delivery(
            Repository(_hub(settings)),
            destination_settings(settings),
            delivery_id,
            to=to,
            now=datetime.now(UTC),
        ),
        as_json,
    )


@main.command("test-datasource")
@click.argument("datasource_id", type=click.IntRange(min=1))
@_as_json
@_errors_in_one_line
def try_one_datasource(datasource_id: int, as_json: bool) -> int:
    """Try one data source: connect, authenticate, run a trivial query."""
    return _print_trial(try_data_source(Repository(_hub(Settings.load())), datasource_id), as_json)


def _print_trial(trial: Trial, as_json: bool) -> int:
    if as_json:
        _print_json(trial.document())
    else:
        for step in trial.steps:
            word = "ok" if step.succeeded else "failed"
            click.echo(f"{word:<6} {step.milliseconds:>6} ms  {step.name}: {step.detail}")
    if trial.error is None:
        return DONE
    return FIX if isinstance(trial.error, ConfigurationError) else FAILED


@main.command()
@click.argument("config_id", type=click.IntRange(min=1))
@click.option("--from", "start", required=True, help="Slots from here on, in the schedule's zone.")
@click.option("--to", "end", default="", help="Slots before this moment; without it, now.")
@click.option("--schedule-id", type=click.IntRange(min=1), help="Whose cron cuts the windows.")
@click.option("--only", type=click.Choice(["missing"]), help="Leave out what was made or is being made.")
@click.option("--param", "params", multiple=True, metavar="KEY=VALUE", help="A template variable.")
@click.option("--deliver", default="none", show_default=True, help="all, none, or addresses.")
@click.option("--executed-by", default=getuser, show_default="you", help="Who asked.")
@click.option("--dry-run", is_flag=True, help="Show the windows and queue nothing.")
@_as_json
@_errors_in_one_line
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
    hub = _hub(settings)
    request = BackfillRequest(
        id=str(uuid4()),
        config_id=config_id,
        start=start,
        end=end,
        schedule_id=schedule_id,
        deliver=deliver,
        parameters=_parameters(params),
        only_missing=only == "missing",
        executed_by=executed_by,
    )
    now = hub.now()
    plan = plan_backfill(hub, request, now=now, default_timezone=settings.default_timezone)
    queued = 0 if dry_run else queue_backfill(hub, plan, now)
    if as_json:
        _print_json(backfill_status.plan_document(plan, queued))
    else:
        backfill_status.print_plan(plan, queued)
    return DONE


@main.command()
@click.argument("backfill_id", required=False)
@click.option("--cancel", is_flag=True, help="Cancel all of it that has not ended.")
@click.option("--limit", default=20, type=click.IntRange(1, 1000), help="The latest so many.")
@_as_json
@_errors_in_one_line
def backfills(backfill_id: str | None, cancel: bool, limit: int, as_json: bool) -> int:
    """Show how far backfills are, or one with what failed in it; --cancel ends that one."""
    settings = Settings.load()
    hub = _hub(settings)
    if cancel:
        if backfill_id is None:
            raise ConfigurationError("which one is to be cancelled?", column="BACKFILL_ID")
        _cancel_backfill(settings, hub, backfill_id)
    documents = backfill_status.backfill_documents(Backfills(hub), backfill_id, limit)
    if backfill_id is not None and not documents:
        raise ConfigurationError("there is no such backfill", column="BACKFILL_ID", value=backfill_id)
    if as_json:
        _print_json({"backfills": documents})
    else:
        backfill_status.print_backfills(documents)
    return DONE


def _cancel_backfill(settings: Settings, hub: Hub, backfill_id: str) -> None:
    from reporthub_dagster.instance import cancel_runs, choose_instance  # noqa: PLC0415 - as above

    waited, executions = Backfills(hub).cancel(backfill_id, hub.now())
    runs = 0
    if executions:
        choose_instance(settings)
        runs = cancel_runs(executions)
    click.echo(f"{waited:,} executions that waited are cancelled, {runs:,} runs are told to end", err=True)


def _hub(settings: Settings) -> Hub:
    return Hub(settings.hub_url, settings.hub_zone)


def _parameters(params: tuple[str, ...]) -> dict[str, str]:
    """`--param key=value` as a mapping.

    Raises:
        ConfigurationError: One of them has no `=`.
    """
    pairs = {}
    for param in params:
        name, equals, value = param.partition("=")
        if not equals or not name:
            raise ConfigurationError("not KEY=VALUE", column="--param", value=param)
        pairs[name.strip()] = value
    return pairs


def _print_json(document: dict[str, Any]) -> None:
    click.echo(json.dumps(document, ensure_ascii=False, indent=2, default=str))


def _progress_line(text: str) -> None:
    """Say what is being done, in one line that the next one overwrites; only at a terminal."""
    if sys.stderr.isatty():
        click.echo(f"\r\x1b[K{text}", nl=False, err=True)


if __name__ == "__main__":
    main()
