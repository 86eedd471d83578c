"""Fixtures that every test may ask for; each server's are in its own module."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Generator, Iterator
from functools import lru_cache
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from dagster._core.storage.event_log.sqlite import sqlite_event_log
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from hypothesis import settings
from sqlalchemy import Engine, NullPool, create_engine

settings.register_profile("reporthub", deadline=None)  # how long an example takes is the machine's affair
settings.load_profile("reporthub")

pytest_plugins = [
    "reporthub_dagster_tests.servers.cutting",
    "reporthub_dagster_tests.servers.disks",
    "reporthub_dagster_tests.servers.mariadb",
    "reporthub_dagster_tests.servers.bigquery",
    "reporthub_dagster_tests.servers.clickhouse",
    "reporthub_dagster_tests.servers.mongodb",
    "reporthub_dagster_tests.servers.mysql",
    "reporthub_dagster_tests.servers.postgresql",
    "reporthub_dagster_tests.servers.s3",
    "reporthub_dagster_tests.servers.sftp",
    "reporthub_dagster_tests.servers.smb",
    "reporthub_dagster_tests.servers.rabbitmq",
    "reporthub_dagster_tests.servers.redis",
    "reporthub_dagster_tests.servers.smtp",
    "reporthub_dagster_tests.servers.snowflake",
    "reporthub_dagster_tests.servers.sqlserver",
    "reporthub_dagster_tests.servers.trino",
    "reporthub_dagster_tests.servers.web",
    "reporthub_dagster_tests.installation",
]

STARTED = time.time()
LONGEST = (
    "worker/test_production.py",
    "browser/test_ui.py",
    "dagster/test_crashes.py",
    "dagster/test_whole_job.py",
    "dagster/test_graphql.py",
)
"""Files that begin first, so that no core is left with one of them at the end."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Say where the browser tests leave what they saw."""
    parser.addoption("--screenshots", type=Path, default=Path(".screenshots"), help="Folder of screenshots.")


def pytest_configure() -> None:
    """Hear interrupts in the background of a script too, where they are ignored: some tests send them."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Function) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let a test that fails say what the servers said that it asked for: their folder is gone afterwards."""
    report = yield
    if report.failed:
        # Pytest rewrites the fixtures' modules: none is imported before.
        from reporthub_dagster_tests.servers.dagster import DagsterServer  # noqa: PLC0415
        from reporthub_dagster_tests.worker.site import Site  # noqa: PLC0415

        servers = (value for value in item.funcargs.values() if isinstance(value, (DagsterServer, Site)))
        report.sections += [("servers", server.logs()) for server in servers]
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Name the folder of the screenshots."""
    folder = config.getoption("screenshots").absolute()
    if any(picture.stat().st_mtime > STARTED for picture in folder.glob("*.png")):
        terminalreporter.write_line(f"Screenshots of Dagster's UI: {folder}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Bring the longest files to the front; the order within a file stays."""
    items.sort(
        key=lambda item: next((n for n, name in enumerate(LONGEST) if item.path.match(name)), len(LONGEST))
    )


def pytest_xdist_auto_num_workers() -> int:
    """Half as many workers more than cores: a test waits for its servers as often as it computes."""
    return (os.cpu_count() or 1) * 3 // 2


@lru_cache(maxsize=8)
def _engine(url: str) -> Engine:
    return create_engine(url, poolclass=NullPool, connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS})


@pytest.fixture(scope="session", autouse=True)
def _sqlite_instances_are_made_fast() -> Iterator[None]:
    """A Dagster instance on SQLite reads all its migrations for each database, and forgets each engine."""
    read = ScriptDirectory.from_config
    by_place: dict[str | None, ScriptDirectory] = {}

    def from_config(config: Config) -> ScriptDirectory:
        place = config.get_main_option("script_location")
        if place not in by_place:
            by_place[place] = read(config)
        return by_place[place]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScriptDirectory, "from_config", from_config)
        patch.setattr(sqlite_event_log, "create_engine", lambda url, **_: _engine(url))
        yield
