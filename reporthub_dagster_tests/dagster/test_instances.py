from __future__ import annotations

import shutil
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.run_coordinator.queued_run_coordinator import QueuedRunCoordinator
from dagster_mysql import MySQLRunStorage

from reporthub_dagster.instance import write_embedded_instance
from reporthub_dagster.settings import Settings
from reporthub_dagster_tests.servers.mariadb import MariaDBDatabase

ROOT = Path(__file__).parents[2]


def test_the_production_instance_keeps_its_data_in_mysql(
    mariadb_database: MariaDBDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(ROOT / "dagster.yaml", tmp_path)
    url = mariadb_database.server.url(mariadb_database.name, scheme="mysql+mysqlconnector")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_MYSQL_URL", url)
    monkeypatch.setenv("MAX_CONCURRENT_EXECUTIONS", "7")
    with dg.DagsterInstance.get() as instance:
        assert instance.get_runs_count() == 0
        assert isinstance(instance.run_storage, MySQLRunStorage)
        assert isinstance(instance.run_coordinator, QueuedRunCoordinator)
        assert instance.run_coordinator.get_run_queue_config().max_concurrent_runs == 7
        assert not instance.telemetry_enabled
    assert mariadb_database.execute("SHOW TABLES LIKE 'runs'")


def test_the_embedded_instance_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings.load({"REPORTHUB_HOME": str(tmp_path)})
    assert write_embedded_instance(settings)
    monkeypatch.setenv("DAGSTER_HOME", str(settings.dagster_home))
    with dg.DagsterInstance.get() as instance:
        assert not instance.telemetry_enabled
        assert instance.get_runs_count() == 0
