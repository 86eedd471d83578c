"""Runs that are killed, paused, cancelled or left without a database: what becomes of their executions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from multiprocessing.process import BaseProcess
from typing import Any
from uuid import uuid4

import dagster as dg
import pytest
from dagster._core.events import EngineEventData
from dagster_shared.error import SerializableErrorInfo
from sqlalchemy.exc import OperationalError

from reporthub_dagster.db import leases
from reporthub_dagster.definitions import wiring
from reporthub_dagster.reaper_sensor import execution_reaper_sensor
from reporthub_dagster.resources import HubDatabase
from reporthub_dagster.sensors import report_schedule_sensor
from reporthub_dagster_tests import run_process
from reporthub_dagster_tests.forked import ended, kill, pause, resume
from reporthub_dagster_tests.installation import World
from reporthub_dagster_tests.servers.mariadb import MariaDBServer
from reporthub_dagster_tests.servers.process import wait_until
from reporthub_dagster_tests.servers.smtp import HANG

Start = Callable[..., BaseProcess]
on_sqlite = pytest.mark.parametrize("world", ["sqlite"], indirect=True)
on_mariadb = pytest.mark.parametrize("world", ["mariadb"], indirect=True)


@pytest.fixture(autouse=True)
def _short_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "LEASE_SECONDS", run_process.LEASE_SECONDS)
    monkeypatch.setattr(leases, "BEAT_SECONDS", run_process.BEAT_SECONDS)


@pytest.fixture
def start(world: World) -> Iterator[Start]:
    """Starts runs in processes of their own; what is left of them ends with the test."""
    running: list[BaseProcess] = []

    def begin(**options: Any) -> BaseProcess:
        running.append(run_process.start(world.home, **options))
        return running[-1]

    yield begin
    for process in running:
        kill(process)


def tick(world: World, cursor: str | None = None) -> dg.SensorResult:
    """One tick of the reaper."""
    with dg.build_sensor_context(
        instance=world.instance, cursor=cursor, resources={"hub": HubDatabase()}
    ) as context:
        result = execution_reaper_sensor(context)
    assert isinstance(result, dg.SensorResult)
    return result


def asked_for(world: World) -> list[dg.RunRequest]:
    """The runs that the scheduler asks for in one tick."""
    with dg.build_sensor_context(
        instance=world.instance, definitions=wiring(), resources={"hub": HubDatabase()}
    ) as context:
        return list(report_schedule_sensor.evaluate_tick(context).run_requests or ())


def requested(world: World) -> dg.RunRequest:
    """The one further attempt, once the reaper has requeued the execution."""
    wait_until(lambda: bool(tick(world)) and only(world)["status"] == "queued", "the reaper", 20)
    (request,) = asked_for(world)
    return request


def settled(world: World) -> dict[str, Any]:
    """The one execution, when the reaper has closed it."""
    wait_until(lambda: bool(tick(world)) and only(world)["status"] != "running", "the reaper", 20)
    return only(world)


def only(world: World) -> dict[str, Any]:
    return world.go.row("SELECT * FROM report_executions")


def launch(world: World, request: dg.RunRequest) -> dg.ExecuteJobResult:
    """Launch a further attempt as the daemon would."""
    result: dg.ExecuteJobResult = world.execute(dict(request.run_config), tags=dict(request.tags))
    return result


def status_of_runs(world: World) -> list[str]:
    return [run.status.value for run in world.instance.get_runs()]


@on_mariadb
def test_killed_in_the_query_the_next_attempt_has_the_same_window(
    world: World, start: Start, mariadb_server: MariaDBServer
) -> None:
    query = world.go.row("SELECT report_query FROM report_configs")["report_query"]
    world.go.execute("UPDATE report_configs SET report_query = 'SELECT SLEEP(60) FROM trx t'")
    process = start(config_id=1, executed_by="ana")
    wait_until(lambda: any("SLEEP" in text for text in mariadb_server.statements()), "the query")
    kill(process)
    before = only(world)
    world.go.execute("UPDATE report_configs SET report_query = :query", query=query)
    request = requested(world)
    assert only(world)["status"] == "queued"
    assert request.run_key == f"{before['id']}:1"
    assert request.tags["reporthub/execution_id"] == before["id"]
    assert launch(world, request).success, only(world)
    after = only(world)
    assert (after["status"], after["executed_by"], after["error_message"]) == ("completed", "ana", None)
    assert after["execution_context"]["time_range"] == before["execution_context"]["time_range"]
    assert asked_for(world) == []
    assert len(world.mail.mails) == 2


@on_sqlite
def test_killed_before_it_has_a_window_the_next_attempt_starts_anew(world: World, start: Start) -> None:
    process = start(halt="plan", config_id=1)
    wait_until(lambda: run_process.halted(world.home), "the plan")
    kill(process)
    assert launch(world, requested(world)).success
    assert only(world)["status"] == "completed"
    assert len(world.mail.mails) == 2


@pytest.mark.parametrize("place", ["render", "between", "fan out", "deliver", "finish"])
@on_sqlite
def test_killed_after_the_query_the_next_attempt_reads_the_spool(
    world: World, start: Start, place: str
) -> None:
    process = start(halt=place, config_id=1)
    wait_until(lambda: run_process.halted(world.home), place)
    kill(process)
    world.drop_source()
    assert launch(world, requested(world)).success
    assert only(world)["status"] == "completed"
    assert sorted(mail.recipient for mail in world.mail.mails) == ["ana@finance.test", "budi@finance.test"]
    assert len(list(world.share.iterdir())) == 1


def test_killed_while_it_sends_nobody_gets_it_twice(world: World, start: Start) -> None:
    world.mail.script("budi@finance.test", "RCPT", HANG)
    process = start(config_id=1)
    wait_until(lambda: len(world.mail.to("ana@finance.test")) == 1, "the first mail")
    on_its_way = "SELECT recipient FROM reporthub_deliveries WHERE state = 'sending'"
    wait_until(lambda: world.go.rows(on_its_way) == [{"recipient": "budi@finance.test"}], "the ledger")
    kill(process)
    world.drop_source()
    assert not launch(world, requested(world)).success
    assert [mail.recipient for mail in world.mail.mails] == ["ana@finance.test"]
    assert len(list(world.share.iterdir())) == 1
    row = only(world)
    assert row["status"] == "failed"
    assert "budi@finance.test: an earlier attempt may have sent it" in row["error_message"]
    assert "ana@" not in row["error_message"]


@on_sqlite
def test_a_launch_of_few_goes_to_few_after_a_crash(world: World, start: Start) -> None:
    process = start(halt="render", config_id=1, deliver="budi@finance.test", parameters={"merchant_id": "X"})
    wait_until(lambda: run_process.halted(world.home), "the renderer")
    kill(process)
    launch(world, requested(world))
    assert [mail.recipient for mail in world.mail.mails] == ["budi@finance.test"]
    assert list(world.share.iterdir()) == []
    assert only(world)["execution_context"]["launch"]["parameters"] == {"merchant_id": "X"}


@on_sqlite
def test_attempts_are_bounded(world: World, start: Start) -> None:
    first = start(halt="render", config_id=1)
    wait_until(lambda: run_process.halted(world.home), "the renderer")
    kill(first)
    request = requested(world)
    (world.home / "halted").unlink()
    config = request.run_config["ops"]["compute_time_range"]["config"]
    second = start(halt="render", **config)
    wait_until(lambda: run_process.halted(world.home), "the renderer")
    kill(second)
    row = settled(world)
    assert (row["status"], row["error_message"]) == ("failed", "the process that ran it died (2 attempts)")
    assert row["completed_at"] is not None
    assert asked_for(world) == []


@pytest.mark.parametrize("place", ["render", "between", "deliver"])
@on_sqlite
def test_a_run_that_comes_back_to_life_changes_nothing(world: World, start: Start, place: str) -> None:
    zombie = start(halt=place, config_id=1)
    wait_until(lambda: run_process.halted(world.home), place)
    pause(zombie)
    assert launch(world, requested(world)).success
    before = (only(world), world.go.rows("SELECT * FROM report_delivery_logs"), len(world.mail.mails))
    run_process.open_gate(world.home)
    resume(zombie)
    ended(zombie)
    after = (only(world), world.go.rows("SELECT * FROM report_delivery_logs"), len(world.mail.mails))
    assert after == before
    assert before[0]["status"] == "completed"
    assert before[2] == 2


@on_mariadb
def test_a_run_that_comes_back_to_life_in_its_query_stops_the_query(
    world: World, start: Start, mariadb_server: MariaDBServer
) -> None:
    query = world.go.row("SELECT report_query FROM report_configs")["report_query"]
    world.go.execute("UPDATE report_configs SET report_query = 'SELECT SLEEP(250) FROM trx t'")
    zombie = start(config_id=1)
    wait_until(lambda: any("SLEEP" in text for text in mariadb_server.statements()), "the query")
    pause(zombie)
    world.go.execute("UPDATE report_configs SET report_query = :query", query=query)
    assert launch(world, requested(world)).success
    before = (only(world), world.go.rows("SELECT * FROM report_delivery_logs"), len(world.mail.mails))
    assert any("SLEEP" in text for text in mariadb_server.statements())
    resume(zombie)
    wait_until(lambda: not any("SLEEP" in text for text in mariadb_server.statements()), "its end", 20)
    ended(zombie)
    after = (only(world), world.go.rows("SELECT * FROM report_delivery_logs"), len(world.mail.mails))
    assert after == before
    assert before[0]["status"] == "completed"


@on_sqlite
def test_dagster_is_told_that_the_process_of_a_run_is_gone(world: World, start: Start) -> None:
    process = start(halt="render", config_id=1)
    wait_until(lambda: run_process.halted(world.home), "the renderer")
    kill(process)
    assert status_of_runs(world) == ["STARTED"]
    request = requested(world)
    assert status_of_runs(world) == ["FAILURE"]
    tick(world)
    assert only(world)["status"] == "queued"
    assert launch(world, request).success
    tick(world)
    assert only(world)["status"] == "completed"


@on_sqlite
def test_a_run_that_died_after_its_outcome_ends_in_dagster_too(world: World, start: Start) -> None:
    """For ever at work, it would keep another run from starting."""
    process = start(halt="told", config_id=1)
    wait_until(lambda: run_process.halted(world.home), "the outcome")
    wait_until(lambda: is_old(world), "a run that is old enough")
    tick(world)
    assert status_of_runs(world) == ["STARTED"]
    kill(process)
    wait_until(lambda: bool(tick(world)) and status_of_runs(world) == ["FAILURE"], "the reaper", 20)
    tick(world)
    assert (only(world)["status"], only(world)["error_message"]) == ("completed", None)
    assert asked_for(world) == []


@on_sqlite
def test_a_run_that_died_before_its_claim_ends_in_dagster_when_another_has_taken_over(
    world: World, start: Start
) -> None:
    execution_id = str(uuid4())
    world.go.insert("report_executions", id=execution_id, config_id=1, status="queued", executed_by="go")
    process = start(halt="claim", execution_id=execution_id)
    wait_until(lambda: run_process.halted(world.home), "the claim")
    kill(process)
    wait_until(lambda: is_old(world), "a run that is old enough")
    tick(world)
    assert (status_of_runs(world), only(world)["status"]) == (["STARTED"], "queued")
    assert launch(world, asked_for(world)[0]).success
    tick(world)
    assert status_of_runs(world) == ["SUCCESS", "FAILURE"]
    tick(world)
    assert only(world)["status"] == "completed"


@on_sqlite
def test_a_run_that_died_before_it_wrote_its_row_ends_in_dagster_too(world: World, start: Start) -> None:
    process = start(halt="row", config_id=1)
    wait_until(lambda: run_process.halted(world.home), "the row")
    kill(process)
    wait_until(lambda: bool(tick(world)) and status_of_runs(world) == ["FAILURE"], "the reaper", 20)
    assert world.go.rows("SELECT id FROM report_executions") == []


@on_sqlite
def test_a_run_that_died_while_it_was_cancelled_is_not_run_again(world: World, start: Start) -> None:
    process = start(halt="render", config_id=1)
    wait_until(lambda: run_process.halted(world.home), "the renderer")
    (run,) = world.instance.get_runs()
    world.instance.report_run_canceling(run)
    kill(process)
    assert settled(world)["status"] == "cancelled"
    assert status_of_runs(world) == ["CANCELED"]


@on_sqlite
def test_a_run_that_comes_back_before_its_heir_gets_nothing_either(world: World, start: Start) -> None:
    zombie = start(halt="between", config_id=1)
    wait_until(lambda: run_process.halted(world.home), "the renderer")
    pause(zombie)
    request = requested(world)
    run_process.open_gate(world.home)
    resume(zombie)
    ended(zombie)
    assert only(world)["status"] == "queued"
    assert world.mail.mails == []
    assert launch(world, request).success
    assert len(world.mail.mails) == 2


def test_of_two_runs_at_once_one_works(world: World, start: Start) -> None:
    execution_id = str(uuid4())
    world.go.insert("report_executions", id=execution_id, config_id=1, status="queued", executed_by="go")
    both = [start(execution_id=execution_id) for _ in range(2)]
    assert [ended(process) for process in both] == [0, 0]
    assert only(world)["status"] == "completed"
    assert len(world.mail.mails) == 2
    assert len(world.go.rows("SELECT id FROM report_delivery_logs")) == 2
    assert world.go.row("SELECT token, attempts FROM reporthub_leases") == {"token": 1, "attempts": 0}


@on_mariadb
def test_a_database_that_restarts_in_mid_run_costs_a_pause(
    world: World, start: Start, mariadb_server: MariaDBServer
) -> None:
    process = start(halt="render", config_id=1)
    wait_until(lambda: run_process.halted(world.home), "the renderer")
    mariadb_server.stop()
    run_process.open_gate(world.home)
    mariadb_server.start()
    assert ended(process) == 0
    wait_until(lambda: only(world)["status"] == "completed", "the outcome", 5)
    assert len(world.mail.mails) == 2


@on_sqlite
def test_cancelled_between_two_ops_it_ends_cancelled(world: World, start: Start) -> None:
    process = start(halt="between", config_id=1)
    wait_until(lambda: run_process.halted(world.home), "the end of an op")
    (run,) = world.instance.get_runs()
    world.instance.report_run_canceling(run)
    process.terminate()
    ended(process)
    assert only(world)["status"] == "running"
    row = settled(world)
    assert (row["status"], row["error_message"]) == ("cancelled", "cancelled by a person")
    assert world.mail.mails == []


@on_sqlite
def test_a_run_that_is_forced_to_end_is_closed_at_once(world: World, start: Start) -> None:
    process = start(halt="render", config_id=1)
    wait_until(lambda: run_process.halted(world.home), "the renderer")
    (run,) = world.instance.get_runs()
    world.instance.report_run_canceled(run)
    tick(world)
    assert only(world)["status"] == "cancelled"
    run_process.open_gate(world.home)
    ended(process)
    assert only(world)["status"] == "cancelled"
    assert world.mail.mails == []


@on_sqlite
def test_a_failure_before_the_first_op_closes_the_queued_row(world: World) -> None:
    execution_id = str(uuid4())
    world.go.insert("report_executions", id=execution_id, config_id=1, status="queued", executed_by="go")
    config = {"ops": {"compute_time_range": {"config": {"execution_id": execution_id}}}}
    run = world.instance.create_run_for_job(job(), run_config=config)
    world.instance.report_run_failed(run, "the worker did not start: mysql://u:canary-7731@h/d")
    result = tick(world)
    row = only(world)
    assert row["status"] == "failed"
    assert row["error_message"] == "the worker did not start: mysql://u:•••@h/d"
    assert asked_for(world) == []
    assert tick(world, result.cursor).cursor == result.cursor


@on_sqlite
def test_a_run_that_could_not_be_launched_while_dagsters_database_was_away_closes_nothing(
    world: World,
) -> None:
    execution_id = str(uuid4())
    world.go.insert("report_executions", id=execution_id, config_id=1, status="queued", executed_by="go")
    run = world.instance.create_run_for_job(job(), tags={"reporthub/execution_id": execution_id})
    gone = SerializableErrorInfo("gone", [], OperationalError.__name__)
    world.instance.report_engine_event("created, but not launched", run, EngineEventData.engine_error(gone))
    world.instance.report_run_failed(run)
    tick(world)
    assert (only(world)["status"], only(world)["error_message"]) == ("queued", None)
    assert [request.tags["reporthub/execution_id"] for request in asked_for(world)] == [execution_id]


@on_sqlite
def test_a_queued_row_waits_for_the_run_that_is_still_to_come(world: World) -> None:
    execution_id = str(uuid4())
    world.go.insert("report_executions", id=execution_id, config_id=1, status="queued", executed_by="go")
    tags = {"reporthub/execution_id": execution_id}
    first = world.instance.create_run_for_job(job(), tags=tags)
    world.instance.create_run_for_job(job(), tags=tags)
    world.instance.report_run_failed(first, "no worker")
    tick(world)
    assert only(world)["status"] == "queued"


@on_sqlite
def test_a_further_attempt_that_fails_before_its_first_op_closes_the_row(world: World, start: Start) -> None:
    process = start(halt="render", config_id=1)
    wait_until(lambda: run_process.halted(world.home), "the renderer")
    kill(process)
    request = requested(world)
    heir = world.instance.create_run_for_job(job(), run_config=request.run_config, tags=request.tags)
    tick(world)
    assert only(world)["status"] == "queued"
    world.instance.report_run_failed(heir, "no worker")
    tick(world)
    assert (only(world)["status"], only(world)["error_message"]) == ("failed", "no worker")


@on_sqlite
def test_a_run_that_dagster_found_dead_is_a_crash(world: World, start: Start) -> None:
    process = start(halt="render", config_id=1)
    wait_until(lambda: run_process.halted(world.home), "the renderer")
    (run,) = world.instance.get_runs()
    world.instance.report_run_failed(run, "Detected run worker status FAILED")
    assert requested(world).run_key == f"{only(world)['id']}:1"
    run_process.open_gate(world.home)
    ended(process)
    assert only(world)["status"] == "queued"


def is_old(world: World) -> bool:
    """Whether the one run has not changed for longer than a lease lasts."""
    (record,) = world.instance.get_run_records()
    age = datetime.now(UTC) - record.update_timestamp.replace(tzinfo=UTC)
    return age.total_seconds() > run_process.LEASE_SECONDS + 1


def job() -> dg.JobDefinition:
    from reporthub_dagster.instance import report_job  # noqa: PLC0415

    return report_job()
