"""Commands of those who install, watch and repair."""

from __future__ import annotations

import os
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib.util import find_spec

import click

from reporthub_dagster import output
from reporthub_dagster.checking import Checker
from reporthub_dagster.commands.common import (
    DONE,
    FAILED,
    as_json_option,
    errors_in_one_line,
    open_hub,
    print_json,
    progress_line,
)
from reporthub_dagster.db.repository import Repository
from reporthub_dagster.db.slots import Slots
from reporthub_dagster.db.uses import Uses
from reporthub_dagster.mailing import destination_settings
from reporthub_dagster.purging import Purge, parse_age
from reporthub_dagster.reporting.errors import ConfigurationError
from reporthub_dagster.settings import Settings
from reporthub_dagster.status import Limits, print_status, status_document
from reporthub_dagster.timetable import Timetable, print_schedule


@click.command()
@errors_in_one_line
def init() -> int:
    """Create what is absent: tables, output folder, Dagster's instance and its tables."""
    from reporthub_dagster.instance import prepare_instance  # noqa: PLC0415 - Dagster loads slowly

    settings = Settings.load()
    created = open_hub(settings).create_missing_tables()
    click.echo(f"tables: {', '.join(created) if created else 'all there'}")
    settings.output_folder.mkdir(parents=True, exist_ok=True)
    click.echo(f"output folder: {settings.output_folder}")
    click.echo(prepare_instance(settings))
    return DONE


@click.command("script-runner")
@click.option("--listen", required=True, metavar="ADDRESS", help="unix:/path or tcp:host:port.")
@click.option("--container-is-wall", is_flag=True, help="Run also where the kernel has no bars.")
@errors_in_one_line
def script_runner(listen: str, container_is_wall: bool) -> int:
    """Run scripts for REPORTHUB_SCRIPT_RUNNER, in a container that has nothing else."""
    from reporthub_dagster.sandbox import runner  # noqa: PLC0415 - only this command needs it

    runner.serve(listen, is_wall=container_is_wall, say=partial(click.echo, err=True))
    return DONE


@click.command()
@as_json_option
@errors_in_one_line
def check(as_json: bool) -> int:
    """Connect to everything and try every active row; one line per finding, exit 1 if there is any."""
    settings = Settings.load()
    checker = Checker(
        Repository(open_hub(settings)),
        destination_settings(settings),
        settings.default_timezone,
        datetime.now(UTC),
        progress_line,
    )
    findings = list(checker.findings())
    progress_line("")
    if as_json:
        print_json({"findings": [{"severity": f.severity, "text": f.text} for f in findings]})
    else:
        for finding in findings:
            click.echo(f"{finding.severity}: {finding.text}")
        click.echo(f"{len(findings)} findings" if findings else "everything is in order", err=True)
    return FAILED if findings else DONE


@click.command()
@click.option("--next", "ahead", default=3, type=click.IntRange(0, 100), help="Slots of the future to show.")
@as_json_option
@errors_in_one_line
def schedules(ahead: int, as_json: bool) -> int:
    """Show each active schedule: its last slots with their fate, and the next ones, in its zone and UTC."""
    settings = Settings.load()
    hub = open_hub(settings)
    timetable = Timetable(Repository(hub), Slots(hub), settings.schedule_policy, hub.now(), ahead)
    documents = list(timetable.documents())
    if as_json:
        print_json({"schedules": documents})
    else:
        for document in documents:
            print_schedule(document)
    return DONE


@click.command()
@as_json_option
@errors_in_one_line
def status(as_json: bool) -> int:
    """Say whether schedulers live and reports are on time; exit 1 when not. A monitor may call it often."""
    settings = Settings.load()
    limits = Limits(
        timedelta(minutes=settings.late_minutes), timedelta(seconds=settings.sensor_interval_seconds)
    )
    with closing(open_hub(settings)) as hub:
        document = status_document(hub, limits)
    if as_json:
        print_json(document)
    else:
        print_status(document)
    return DONE if document["ok"] else FAILED


@click.command()
@click.option("--concurrency", default=os.cpu_count() or 1, type=click.IntRange(1, 256), show_default="CPUs")
@click.option(
    "--max-runs", default=500, type=click.IntRange(min=1), help="Renew a process after so many runs."
)
@click.option("--max-memory", default=800, type=click.IntRange(min=50), help="Renew it at so many megabytes.")
@click.option("--grace", default=300, type=click.IntRange(min=0), help="Seconds to end in after SIGTERM.")
@errors_in_one_line
def worker(concurrency: int, max_runs: int, max_memory: int, grace: int) -> int:
    """Run reports as they come from the broker in REPORTHUB_BROKER_URL, in warm processes, until SIGTERM."""
    from reporthub_dagster.instance import choose_instance  # noqa: PLC0415 - Dagster loads slowly

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


@click.command()
@click.option("--older-than", required=True, metavar="AGE", help="30d, 12h or 8w since they were last used.")
@click.option("--dry-run", is_flag=True, help="Remove nothing, say what would be.")
@as_json_option
@errors_in_one_line
def purge(older_than: str, dry_run: bool, as_json: bool) -> int:
    """Remove the files of executions that are over and old; their rows stay."""
    settings = Settings.load()
    hub = open_hub(settings)
    before = hub.now() - parse_age(older_than)
    verdicts = list(Purge(settings.output_folder, Uses(hub).of, before, dry=dry_run).run())
    if as_json:
        print_json(output.purge_document(verdicts, dry=dry_run))
    else:
        output.print_purge(verdicts, dry=dry_run)
    return DONE
