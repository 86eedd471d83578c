"""The instances that we ship: each file loads, and says what production needs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from click.testing import CliRunner
from dagster._core.launcher import DefaultRunLauncher
from sqlalchemy import event

from reporthub_dagster import pooled_storage
from reporthub_dagster.cli import main
from reporthub_dagster.instance import write_embedded_instance
from reporthub_dagster.pooled_storage import PooledMySQLStorage, process_engine
from reporthub_dagster.run_queue import ReportRunCoordinator
from reporthub_dagster.settings import Settings
from reporthub_dagster.worker.launcher import ReportRunLauncher
from reporthub_dagster_tests import forked
from reporthub_dagster_tests.servers.mariadb import MariaDBDatabase

ROOT = Path(__file__).parents[2]
DRIVERS = ("mysql+pymysql", "mysql+mysqlconnector")


@pytest.fixture
def storage_url(
    mysql_or_mariadb: MariaDBDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """The environment of an instance in MySQL; pools on it end with the test."""
    url = mysql_or_mariadb.server.url(mysql_or_mariadb.name)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_MYSQL_URL", url)
    monkeypatch.setenv("MAX_CONCURRENT_EXECUTIONS", "7")
    monkeypatch.setenv("REPORTHUB_BROKER_URL", "amqp://hub:canary-7731@127.0.0.1:1//")
    yield url
    while pooled_storage._engines:  # noqa: SLF001 - one test's pools are none of the next one's
        pooled_storage._engines.popitem()[1].dispose()  # noqa: SLF001


@pytest.mark.parametrize(
    ("file", "launcher"), [("dagster.yaml", DefaultRunLauncher), ("deploy/dagster.yaml", ReportRunLauncher)]
)
def test_the_production_instances_load(
    storage_url: str, mysql_or_mariadb: MariaDBDatabase, tmp_path: Path, file: str, launcher: type
) -> None:
    shutil.copy(ROOT / file, tmp_path)
    with dg.DagsterInstance.get() as instance:
        assert instance.get_runs_count() == 0
        assert isinstance(instance.run_launcher, launcher)
        assert isinstance(instance.run_coordinator, ReportRunCoordinator)
        queue = instance.run_coordinator.get_run_queue_config()
        assert queue.max_concurrent_runs == 7
        assert [limit["key"] for limit in queue.tag_concurrency_limits] == ["reporthub/datasource_id"]
        assert queue.max_user_code_failure_retries == 3
        assert instance.run_coordinator.dequeue_interval_seconds == 1
        assert instance.get_sensor_settings()["num_submit_workers"] == 4
        assert not instance.telemetry_enabled
        assert "canary" not in repr(instance.get_ref())
    assert mysql_or_mariadb.execute("SHOW TABLES LIKE 'runs'")


@pytest.mark.parametrize("driver", DRIVERS)
def test_the_three_storages_share_one_pool(
    storage_url: str, mysql_or_mariadb: MariaDBDatabase, driver: str
) -> None:
    url = mysql_or_mariadb.server.url(mysql_or_mariadb.name, scheme=driver)
    storage = PooledMySQLStorage(url)
    for _ in range(3):
        storage.run_storage.get_runs_count()
        storage.event_log_storage.get_concurrency_keys()
        storage.schedule_storage.all_instigator_state()
    connections = mysql_or_mariadb.execute(
        "SELECT COUNT(*) FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()"
    )
    assert connections == [(1,)]


def open_storage(url: str, together: Barrier) -> None:
    """What every Dagster process does when it starts."""
    together.wait(60)
    assert PooledMySQLStorage(url).run_storage.get_runs_count() == 0


def test_processes_that_start_at_once_on_an_empty_database_all_find_its_tables(
    storage_url: str, mysql_or_mariadb: MariaDBDatabase, tmp_path: Path
) -> None:
    together = forked.CONTEXT.Barrier(3)
    log = tmp_path / "storage.log"
    processes = [forked.start(open_storage, storage_url, together, log=log) for _ in range(3)]
    assert [forked.ended(process) for process in processes] == [0, 0, 0], log.read_text()
    made = {name for (name,) in mysql_or_mariadb.execute("SHOW TABLES")}
    assert {"runs", "event_logs", "jobs", "job_ticks", "daemon_heartbeats"} <= made


def test_init_makes_the_tables_of_the_operators_instance(
    storage_url: str, mysql_or_mariadb: MariaDBDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REPORTHUB_DATABASE_URL", storage_url)
    monkeypatch.setenv("REPORTHUB_HOME", str(tmp_path / "home"))
    shutil.copy(ROOT / "deploy" / "dagster.yaml", tmp_path)
    done = CliRunner().invoke(main, ["init"])
    assert (done.exit_code, done.stdout.splitlines()[-1]) == (0, f"Dagster instance: {tmp_path}")
    assert not (tmp_path / "home" / "dagster").exists()
    made = {name for (name,) in mysql_or_mariadb.execute("SHOW TABLES")}
    assert {"report_executions", "runs", "job_ticks"} <= made


def test_a_process_that_never_ends_making_tables_is_named(
    storage_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pooled_storage, "TABLES_SECONDS", 0.1)
    with (
        pooled_storage._alone_with_its_tables(process_engine(storage_url)),  # noqa: SLF001 - the other process
        pytest.raises(TimeoutError, match="another process has been making Dagster's tables"),
    ):
        PooledMySQLStorage(storage_url)


def test_the_storage_looks_once_whether_its_tables_are_of_this_release(storage_url: str) -> None:
    storage = PooledMySQLStorage(storage_url)
    events: Any = storage.event_log_storage
    said: list[str] = []

    @event.listens_for(process_engine(storage_url), "before_cursor_execute")
    def _note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        said.append(statement)

    for _ in range(2):
        storage.run_storage.get_run_records()
        assert events.has_table("asset_check_executions")
        assert not events.has_table("of_a_later_release")
    asked = [statement for statement in said if statement.startswith("SHOW")]
    assert len(asked) == 1 + 1 + 2


def test_a_connection_comes_back_without_what_was_not_committed(storage_url: str) -> None:
    engine = process_engine(storage_url)
    insert, count = "INSERT INTO kept VALUES (1)", "SELECT COUNT(*) FROM kept"
    rolled_back = "SHOW SESSION STATUS LIKE 'Com_rollback'"
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE kept (n INT)")
        before = connection.exec_driver_sql(rolled_back).one()
    for _ in range(3):
        with engine.begin() as connection:
            connection.exec_driver_sql(insert)
    with engine.connect() as connection:
        assert connection.exec_driver_sql(count).scalar_one() == 3
        assert connection.exec_driver_sql(rolled_back).one() == before
        connection.exec_driver_sql(insert)
    raw = engine.raw_connection()
    raw.cursor().execute(insert)
    raw.close()
    with engine.connect() as connection:
        assert connection.exec_driver_sql(count).scalar_one() == 3


def test_a_database_that_restarts_is_waited_for(storage_url: str, mysql_or_mariadb: MariaDBDatabase) -> None:
    storage = PooledMySQLStorage(storage_url)
    assert storage.run_storage.get_runs_count() == 0
    mysql_or_mariadb.server.kill()
    mysql_or_mariadb.server.start()
    assert storage.run_storage.get_runs_count() == 0


def test_a_forked_child_opens_connections_of_its_own(storage_url: str) -> None:
    engine = process_engine(storage_url)
    with engine.connect() as connection:
        own = connection.exec_driver_sql("SELECT CONNECTION_ID()").scalar_one()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        with engine.connect() as connection:
            os.write(writer, str(connection.exec_driver_sql("SELECT CONNECTION_ID()").scalar_one()).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert int(os.read(reader, 20)) != own
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT CONNECTION_ID()").scalar_one() == own
    os.close(reader)
    os.close(writer)


def test_the_embedded_instance_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings.load({"REPORTHUB_HOME": str(tmp_path)})
    assert write_embedded_instance(settings)
    monkeypatch.setenv("DAGSTER_HOME", str(settings.dagster_home))
    with dg.DagsterInstance.get() as instance:
        assert not instance.telemetry_enabled
        assert instance.get_runs_count() == 0
