"""The shared database on each kind of server that can hold it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from reporthub_dagster.db.session import Hub
from reporthub_dagster_tests.go_api import GoApi

KINDS = ("sqlite", "mysql", "mariadb", "postgresql")


@pytest.fixture(params=KINDS)
def hub_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'hub.db'}"
    return str(request.getfixturevalue(f"{request.param}_database").url)


@pytest.fixture
def hub(hub_url: str) -> Iterator[Hub]:
    """The shared database with all tables, times in UTC."""
    hub = Hub(hub_url, ZoneInfo("UTC"))
    hub.create_missing_tables()
    yield hub
    hub.close()


@pytest.fixture
def go(hub: Hub, hub_url: str) -> Iterator[GoApi]:
    """Another client of the same database, with one report in it."""
    go = GoApi(hub.engine.url.render_as_string(hide_password=False))
    go.insert("report_datasources", id=1, name="sales", connection_url="sqlite:///sales.db", db_type="mysql")
    go.insert("report_configs", id=1, report_name="Sales", report_query="SELECT 1", datasource_id=1)
    go.insert("report_schedules", id=1, config_id=1, cron_expression="0 8 * * *", timezone="Asia/Jakarta")
    yield go
    go.close()
