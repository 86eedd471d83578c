"""A worker's process by itself: runs that cannot begin, or are stopped, while a database is away."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from pkgutil import resolve_name
from threading import Thread, Timer
from typing import Any, NoReturn
from uuid import uuid4

import dagster as dg
import pytest
from dagster import DagsterRunStatus

from reporthub_dagster import pooled_storage, stopping
from reporthub_dagster.dagster_internals import execute
from reporthub_dagster.db import engine
from reporthub_dagster.instance import report_job
from reporthub_dagster.reaper_sensor import execution_reaper_sensor
from reporthub_dagster.reporting.errors import TransientError
from reporthub_dagster.resources import HubDatabase
from reporthub_dagster.run_config import EXECUTION_TAG
from reporthub_dagster.worker import runs
from reporthub_dagster.worker.runs import NotBegunError, RunProcess
from reporthub_dagster_tests.installation import World
from reporthub_dagster_tests.servers.dagster import ROOT
from reporthub_dagster_tests.servers.mariadb import MariaDBDatabase
from reporthub_dagster_tests.servers.process import wait_until

pytestmark = [pytest.mark.parametrize("world", ["sqlite"], indirect=True), pytest.mark.timeout(120)]


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Iterator[RunProcess]:
    """A process that looks often, and has not been told to stop before."""
    monkeypatch.setattr(runs, "LOOK_SECONDS", 0.1)
    yield RunProcess(get_context("fork").Event())
    stopping._stopping.clear()  # noqa: SLF001 - a process that stops is not asked again


@pytest.fixture
def instance(
    world: World, mariadb_database: MariaDBDatabase, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dg.DagsterInstance]:
    """An instance in MariaDB; the shared database is a file."""
    home = world.home / "mysql"
    home.mkdir()
    shutil.copy(ROOT / "deploy" / "dagster.yaml", home)
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    monkeypatch.setenv("DAGSTER_MYSQL_URL", mariadb_database.server.url(mariadb_database.name))
    monkeypatch.setenv("MAX_CONCURRENT_EXECUTIONS", "7")
    monkeypatch.setenv("REPORTHUB_BROKER_URL", "amqp://127.0.0.1:1//")
    with dg.DagsterInstance.get() as instance:
        yield instance
    while pooled_storage._engines:  # noqa: SLF001 - one test's pools are none of the next one's
        pooled_storage._engines.popitem()[1].dispose()  # noqa: SLF001


Closes = Callable[[str], None]


@pytest.fixture
def closes_connections(mariadb_database: MariaDBDatabase, monkeypatch: pytest.MonkeyPatch) -> Closes:
    """Let the server close all connections to Dagster's database when a function is called, once."""
    monkeypatch.setattr(engine, "_IDLE_SECONDS", 60)  # who was in use is not asked whether it lives
    monkeypatch.setattr(runs, "LOOK_SECONDS", 60)  # nobody else finds out before
    found = f"SELECT id FROM information_schema.processlist WHERE db = '{mariadb_database.name}'"

    def at(place: str) -> None:
        name = f"reporthub_dagster.{place}"
        work = resolve_name(name)

        def close(*arguments: Any, **options: Any) -> Any:
            monkeypatch.setattr(name, work)
            for (connection,) in mariadb_database.server.execute(found):
                mariadb_database.server.execute(f"KILL {connection}")
            return work(*arguments, **options)

        monkeypatch.setattr(name, close)

    return at


def launched(world: World, instance: dg.DagsterInstance) -> dg.DagsterRun:
    """A run of a queued row, as the launcher hands it over."""
    execution_id = str(uuid4())
    world.go.insert("report_executions", id=execution_id, config_id=1, status="queued", executed_by="go")
    job = dg.reconstructable(report_job)
    return instance.create_run_for_job(
        job.get_definition(),
        run_config={"ops": {"compute_time_range": {"config": {"execution_id": execution_id}}}},
        tags={EXECUTION_TAG: execution_id},
        job_code_origin=job.get_python_origin(),
        status=DagsterRunStatus.STARTING,
    )


def relaunched(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dg.DagsterRun:
    """Another run of the same execution."""
    job = dg.reconstructable(report_job)
    return instance.create_run_for_job(
        job.get_definition(),
        run_config=run.run_config,
        tags=run.tags,
        job_code_origin=job.get_python_origin(),
        status=DagsterRunStatus.STARTING,
    )


def status(instance: dg.DagsterInstance, run: dg.DagsterRun) -> DagsterRunStatus:
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    return found.status


def row(world: World) -> dict[str, Any]:
    return world.go.row("SELECT * FROM report_executions")


def stops(process: RunProcess, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """Let the worker be told to stop when a run calls a function, which lasts."""

    def last(*_: Any, **__: Any) -> NoReturn:
        process.must_stop.set()
        time.sleep(60)
        raise AssertionError("it was not interrupted")

    monkeypatch.setattr(place, last)


def reap(instance: dg.DagsterInstance) -> None:
    with dg.build_sensor_context(instance=instance, resources={"hub": HubDatabase()}) as context:
        execution_reaper_sensor(context)


def test_a_run_waits_for_dagsters_database_however_long_it_is_away(
    world: World,
    instance: dg.DagsterInstance,
    process: RunProcess,
    mariadb_database: MariaDBDatabase,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(pooled_storage, "RESTART_SECONDS", 0.1)
    run = launched(world, instance)
    server = mariadb_database.server

    def bring_back() -> None:
        wait_until(lambda: f"run {run.run_id} waits for Dagster's database" in caplog.text, "its word", 20)
        server.start()

    server.stop()
    back = Thread(target=bring_back)
    back.start()
    process.execute(run.run_id)
    back.join()
    assert status(instance, run) == DagsterRunStatus.SUCCESS
    assert row(world)["status"] == "completed"


def test_a_connection_that_is_lost_before_a_run_begins_costs_another_try(
    world: World, instance: dg.DagsterInstance, process: RunProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = launched(world, instance)
    tries = []

    def lose_it_once(*arguments: Any) -> None:
        tries.append(arguments)
        if len(tries) == 1:
            raise ConnectionError("lost")
        execute(*arguments)

    monkeypatch.setattr(runs, "execute", lose_it_once)
    process.execute(run.run_id)
    assert status(instance, run) == DagsterRunStatus.SUCCESS


@pytest.mark.parametrize("place", ["opening.plan_report", "rendering.write_files"])
def test_connections_that_are_closed_under_an_op_cost_it_another_try(
    world: World, instance: dg.DagsterInstance, process: RunProcess, closes_connections: Closes, place: str
) -> None:
    closes_connections(place)
    run = launched(world, instance)
    process.execute(run.run_id)
    assert (status(instance, run), row(world)["status"]) == (DagsterRunStatus.SUCCESS, "completed")
    assert len(world.mail.mails) == 2


def test_a_run_whose_connections_are_closed_between_two_ops_is_a_crash_and_is_run_again(
    world: World, instance: dg.DagsterInstance, process: RunProcess, closes_connections: Closes
) -> None:
    closes_connections("run_metadata.of_rows")
    run = launched(world, instance)
    process.execute(run.run_id)
    reap(instance)
    told = (row(world)["status"], row(world)["error_message"])
    assert told == ("queued", "the process that ran it died (1 attempt)")
    process.execute(relaunched(instance, run).run_id)
    assert row(world)["status"] == "completed"
    assert len(world.mail.mails) == 2


def test_a_run_of_a_job_that_this_release_lacks_fails_and_does_not_wait_for_ever(
    world: World, instance: dg.DagsterInstance, process: RunProcess
) -> None:
    run = launched(world, instance)
    assert run.job_code_origin
    origin = run.job_code_origin._replace(job_name="of_a_later_release")
    other = instance.create_run_for_job(
        report_job(), job_code_origin=origin, status=DagsterRunStatus.STARTING
    )
    process.execute(other.run_id)
    assert status(instance, other) == DagsterRunStatus.FAILURE
    said = " ".join(entry.message for entry in instance.all_logs(other.run_id))
    assert "it did not begin in 3 tries" in said


def test_told_to_stop_while_dagsters_database_is_away_the_run_is_left_to_another_worker(
    world: World, instance: dg.DagsterInstance, process: RunProcess, mariadb_database: MariaDBDatabase
) -> None:
    run = launched(world, instance)
    mariadb_database.server.stop()
    Timer(0.5, process.must_stop.set).start()
    started = time.monotonic()
    with pytest.raises(NotBegunError):
        process.execute(run.run_id)
    assert time.monotonic() - started < pooled_storage.RESTART_SECONDS / 2
    mariadb_database.server.start()
    assert status(instance, run) == DagsterRunStatus.STARTING


def test_stopped_before_its_claim_a_run_was_cancelled_by_nobody(
    world: World, instance: dg.DagsterInstance, process: RunProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = launched(world, instance)
    stops(process, monkeypatch, "reporthub_dagster.attempt.claim_execution")
    process.execute(run.run_id)
    assert status(instance, run) == DagsterRunStatus.FAILURE
    reap(instance)
    assert (row(world)["status"], row(world)["error_message"]) == ("queued", None)


def test_stopped_while_the_shared_database_is_away_a_run_is_given_back_by_the_reaper(
    world: World,
    instance: dg.DagsterInstance,
    process: RunProcess,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def away() -> NoReturn:
        raise TransientError("away")

    run = launched(world, instance)
    stops(process, monkeypatch, "reporthub_dagster.rendering.write_files")
    monkeypatch.setattr(runs, "kept_hub", away)
    with caplog.at_level(logging.WARNING):
        process.execute(run.run_id)
    assert f"run {run.run_id} could not be given back: TransientError" in caplog.text
    assert row(world)["status"] == "running"
    reap(instance)
    assert row(world)["status"] == "queued"
    assert world.go.row("SELECT attempts FROM reporthub_leases") == {"attempts": 0}
