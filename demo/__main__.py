"""`make demo`: five reports on real data, through the Dagster job, on the embedded default."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from demo.mail_sink import environment, mail_sink
from demo.planes_api import planes_api
from demo.setup import REPORTS, demo_folder, forget_environment, prepare
from reporthub_dagster.db.deliveries import DeliveryLedger
from reporthub_dagster.db.executions import Executions
from reporthub_dagster.db.session import Hub
from reporthub_dagster.instance import choose_instance, run_report
from reporthub_dagster.reporting.errors import ReportHubError
from reporthub_dagster.sandbox import bars
from reporthub_dagster.settings import Settings

_YEAR = {"start": "2013-01-01", "end": "2014-01-01"}


def main() -> int:
    """Run the demo; returns 0 when everything was delivered."""
    forget_environment()
    flights = prepare()
    settings = Settings.load()
    choose_instance(settings)
    folder = demo_folder(settings)
    for old in (folder / "mail").glob("*.eml"):
        old.unlink()
    click.echo(f"{flights:,} flights are in {_short(folder / 'flights.db')}\n")
    if bars.missing():
        click.echo(f"No report has its script here: {bars.missing()}\n")
    with (
        mail_sink(folder / "mail") as smtp,
        planes_api(settings.home / "reporthub.db") as api,
        environment(
            {
                **smtp,
                **api,
                "REPORTHUB_FILE_ROOTS": str(folder),
                "SCHEDULER_TIMEZONE": "America/New_York",
            }
        ),
    ):
        delivered = [_run(config_id) for config_id in REPORTS]
    click.echo(f"Mails are in {_short(folder / 'mail')}, shared files in {_short(folder / 'share')}.")
    click.echo("See the runs: make dev, then http://127.0.0.1:3000/runs — or: .venv/bin/reporthub executions")
    return 0 if all(delivered) else 1


def _run(config_id: int) -> bool:
    settings = Settings.load()
    started = time.monotonic()
    finished = run_report({"config_id": config_id, "executed_by": "demo", **_YEAR}, talk=False)
    seconds = time.monotonic() - started
    hub = Hub(settings.hub_url, settings.hub_zone)
    execution = Executions(hub).find(finished.run_id)
    if execution is None:
        return False
    rows = execution.rows_returned or 0
    click.echo(f"  {REPORTS[config_id]}: {execution.status}, {rows:,} rows in {seconds:.1f} s")
    for receipt in DeliveryLedger(hub).receipts(execution.id):
        click.echo(f"    {receipt['state']} to {_short(receipt['recipient'])}: {_short(receipt['detail'])}")
    if execution.error_message:
        click.echo(f"    {execution.error_message}", err=True)
    click.echo("")
    hub.close()
    return execution.status == "completed"


def _short(text: object) -> str:
    """Paths as seen from here."""
    return str(text).replace(f"{Path.cwd()}/", "")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ReportHubError as error:
        sys.exit(f"demo: {error}")
