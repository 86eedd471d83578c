"""Commands that try one row and touch nothing else."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from reporthub_dagster.commands.common import (
    DONE,
    FAILED,
    FIX,
    as_json_option,
    errors_in_one_line,
    open_hub,
    print_json,
)
from reporthub_dagster.db.repository import Repository
from reporthub_dagster.mailing import destination_settings
from reporthub_dagster.reporting.errors import ConfigurationError
from reporthub_dagster.settings import Settings
from reporthub_dagster.trial import Trial, try_data_source, try_delivery


@click.command("test-delivery")
@click.argument("delivery_id", type=click.IntRange(min=1))
@click.option("--to", default="", help="Of an e-mail delivery: an address that gets a small test file.")
@as_json_option
@errors_in_one_line
def try_one_delivery(delivery_id: int, to: str, as_json: bool) -> int:
    """Try one delivery: connect, authenticate, write a probe where that is harmless; delivers no report."""
    settings = Settings.load()
    return _print_trial(
        try_delivery(
            Repository(open_hub(settings)),
            destination_settings(settings),
            delivery_id,
            to=to,
            now=datetime.now(UTC),
        ),
        as_json,
    )


@click.command("test-datasource")
@click.argument("datasource_id", type=click.IntRange(min=1))
@as_json_option
@errors_in_one_line
def try_one_datasource(datasource_id: int, as_json: bool) -> int:
    """Try one data source: connect, authenticate, run a trivial query."""
    return _print_trial(try_data_source(Repository(open_hub(Settings.load())), datasource_id), as_json)


def _print_trial(trial: Trial, as_json: bool) -> int:
    if as_json:
        print_json(trial.document())
    else:
        for step in trial.steps:
            word = "ok" if step.succeeded else "failed"
            click.echo(f"{word:<6} {step.milliseconds:>6} ms  {step.name}: {step.detail}")
    if trial.error is None:
        return DONE
    return FIX if isinstance(trial.error, ConfigurationError) else FAILED
