"""The demo's hub: the embedded default below `.reporthub`, with the demo's rows and data in it."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, date, datetime
from importlib.resources import files
from pathlib import Path

from demo.flights import create_flights, data_folder
from reporthub_dagster.db.session import Hub
from reporthub_dagster.instance import write_embedded_instance
from reporthub_dagster.reporting.errors import ConfigurationError
from reporthub_dagster.sandbox import bars
from reporthub_dagster.settings import BACKFILL_DAYS, Settings

REPORTS = {
    1: "Flights from JFK",
    2: "Delays per carrier and month",
    3: "Busiest routes of a carrier",
    4: "Punctuality",
    5: "Seats per destination",
}
_FIRST_FLIGHTS = date(2013, 1, 1)
_FOREIGN = re.compile(r"DB_|SMTP_|REPORTHUB_DATABASE_URL|REPORT_OUTPUT_PATH|DAGSTER_HOME|SCHEDULER_TIMEZONE")


def forget_environment() -> None:
    """Leave the operator's own database, mail server and instance alone: the demo uses none of them."""
    for name in [name for name in os.environ if _FOREIGN.match(name)]:
        del os.environ[name]


def offer_days_of_flights(settings: Settings) -> None:
    """Let the asset `report_file` go back to the demo's data, unless the operator has said how far."""
    if (demo_folder(settings) / "flights.db").exists():
        days = (datetime.now(UTC).date() - _FIRST_FLIGHTS).days
        os.environ.setdefault(BACKFILL_DAYS, str(days))


def demo_folder(settings: Settings) -> Path:
    """Where the demo keeps its data, its mails and its share."""
    return (settings.home / "demo").absolute()


def prepare() -> int:
    """Create what is absent; returns the number of flights.

    Raises:
        ConfigurationError: The hub holds other people's reports.
    """
    settings = Settings.load()
    hub = Hub(settings.hub_url, settings.hub_zone)
    hub.create_missing_tables()
    hub.close()
    write_embedded_instance(settings)
    folder = demo_folder(settings)
    (folder / "share").mkdir(parents=True, exist_ok=True)
    flights = create_flights(folder / "flights.db")
    shutil.copyfile(data_folder() / "airports.csv", folder / "airports.csv")
    _insert_rows(settings.home / "reporthub.db", folder)
    return flights


def _insert_rows(hub: Path, folder: Path) -> None:
    values = {
        "flights_url": f"sqlite:///{folder / 'flights.db'}",
        "share_config": json.dumps({"path": str(folder / "share")}),
    }
    with closing(sqlite3.connect(hub)) as database:
        names = dict(database.execute("SELECT id, report_name FROM report_configs"))
        if any(names.get(config_id, name) != name for config_id, name in REPORTS.items()):
            raise ConfigurationError(
                "the hub holds other reports", column="REPORTHUB_HOME", valid="give the demo an empty folder"
            )
        if names and not names.keys() >= REPORTS.keys():
            raise ConfigurationError(
                "the hub holds the demo of an earlier release",
                column="REPORTHUB_HOME",
                valid="remove that folder, or give the demo an empty one",
            )
        if not names:
            for statement in files("demo").joinpath("rows.sql").read_text(encoding="utf-8").split(";\n"):
                database.execute(statement, values)
            if bars.missing():
                database.execute("UPDATE report_configs SET parameters = json_remove(parameters, '$.script')")
            database.commit()
