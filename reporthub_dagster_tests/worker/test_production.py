"""Whole production installations: what survives kill -9, an orderly end, a cancel and a database restart."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from subprocess import Popen

import dagster as dg
import pytest
from dagster import DagsterRunStatus

from reporthub_dagster.worker.process import LAST_SECONDS
from reporthub_dagster.worker.runs import HANDED_OUT_AGAIN
from reporthub_dagster_tests.installation import create_tables
from reporthub_dagster_tests.servers.mariadb import MariaDBServer
from reporthub_dagster_tests.servers.mysql import INSTALLED
from reporthub_dagster_tests.servers.process import stop, wait_until
from reporthub_dagster_tests.servers.smtp import HANG
from reporthub_dagster_tests.worker.site import PATIENCE, QUICK, RECIPIENT, SLOW, Site, running_site

pytestmark = pytest.mark.timeout(400)
LAUNCH = """mutation ($launch: ExecutionParams!) {
  launchRun(executionParams: $launch) { __typename ... on LaunchRunSuccess { run { id } } } }"""
TERMINATE = "mutation ($run: String!) { terminateRun(runId: $run) { __typename } }"


on_both = pytest.mark.parametrize("broker", ["rabbitmq", "redis"], indirect=True)
on_redis = pytest.mark.parametrize("broker", ["redis"], indirect=True)
on_rabbitmq = pytest.mark.parametrize("broker", ["rabbitmq"], indirect=True)


@pytest.fixture(scope="module")
def broker(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest) -> MariaDBServer:
    """MySQL, as in production; where only MariaDB is installed, that."""
    found: MariaDBServer = request.getfixturevalue("mysql_server" if INSTALLED.exists() else "mariadb_server")
    return found


@pytest.fixture(scope="module")
def site(broker: str, server: MariaDBServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """An installation on each broker, for all tests of this module."""
    home = tmp_path_factory.mktemp("site")
    kind = broker.partition(":")[0]
    names = [f"{kind}_{part}" for part in ("hub", "dagster")]
    for name in names:
        server.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
    hub, dagster = (server.url(name) for name in names)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(home))
        patch.setenv("DAGSTER_MYSQL_URL", dagster)
        patch.setenv("REPORTHUB_DATABASE_URL", hub)
        patch.setenv("REPORTHUB_BROKER_URL", broker)
        patch.setenv("MAX_CONCURRENT_EXECUTIONS", "10")
        with running_site(home, hub, dagster, broker, server.url("mysql", scheme="mysql")) as site:
            create_tables()
            site.start_code_server()
            site.start_daemon()
            yield site


@pytest.fixture(autouse=True)
def _a_quick_report_and_a_worker(site: Site) -> None:
    site.set_query(QUICK)
    worker = site.processes.get("worker")
    if worker is None or worker.poll() is not None:
        site.start_worker("--max-runs", "2", "--grace", "60")


def worker_in_a_hurry(site: Site) -> Popen[bytes]:
    """A worker in the place of the one that runs, which gives a report that is running one second to end."""
    stop(site.processes.pop("worker"), 30)
    return site.start_worker("--grace", "1")


def sleeping(server: MariaDBServer) -> bool:
    return any("SLEEP" in text for text in server.statements())


def pids(site: Site, execution_ids: list[str]) -> set[str]:
    """The processes that executed these."""
    said = " ".join(
        entry.message
        for execution_id in execution_ids
        for run in site.runs(execution_id)
        for entry in site.instance.all_logs(run.run_id)
    )
    return set(re.findall(r"Finished steps in process \(pid: (\d+)\)", said))


@on_both
def test_queued_rows_run_without_any_other_call_in_processes_that_are_renewed(site: Site) -> None:
    before = site.mails()
    asked = [site.ask_for_a_report() for _ in range(3)]
    for execution_id in asked:
        site.wait_for(execution_id, "completed")
    assert site.mails() == before + 3
    # A run says in which process it ended after its execution is completed.
    wait_until(lambda: len(pids(site, asked)) == 2, "both processes' word", PATIENCE)
    assert "canary-redis" not in site.logs()


@on_rabbitmq
def test_asked_for_by_sensor_and_graphql_at_once_it_runs_once(site: Site, server: MariaDBServer) -> None:
    before = site.mails()
    site.set_query(SLOW)
    first = site.ask_for_a_report()
    wait_until(lambda: sleeping(server), "the query", PATIENCE)
    site.set_query(QUICK)
    wanted = site.ask_for_a_report()
    place = {"repositoryLocationName": "reporthub", "repositoryName": "__repository__"}
    # Without the tag by which the sensor would know of it; both runs wait for the one process.
    ops = {"compute_time_range": {"config": {"execution_id": wanted}}}
    launch = {"selector": {**place, "jobName": "execute_report"}, "runConfigData": {"ops": ops}}
    asked = site.graphql(LAUNCH, launch=launch)["launchRun"]["run"]["id"]

    def runs() -> dict[str, dg.DagsterRun | None]:
        found = {run.run_id: run for run in site.runs(wanted)}
        return {asked: site.instance.get_run_by_id(asked), **found}

    wait_until(lambda: len(runs()) == 2, "the sensor's run", PATIENCE)
    (in_the_way,) = site.runs(first)
    site.graphql(TERMINATE, run=in_the_way.run_id)
    wait_until(lambda: all(run and run.is_finished for run in runs().values()), "the end of both", PATIENCE)
    assert [site.row(one)["status"] for one in (first, wanted)] == ["cancelled", "completed"]
    assert site.mails() == before + 1


@on_redis
def test_a_report_that_redis_hands_out_again_runs_once_and_goes_on_elsewhere_when_its_worker_dies(
    site: Site, server: MariaDBServer
) -> None:
    before = site.mails()
    stop(site.processes.pop("worker"))
    impatient = "reporthub_dagster_tests.worker.impatient_worker"
    site.start_worker("--grace", "1", name="first-worker", module=impatient)
    site.set_query(SLOW)
    execution_id = site.ask_for_a_report()
    wait_until(lambda: sleeping(server), "the query", PATIENCE)
    site.start_worker("--grace", "60", module=impatient)
    (run,) = site.runs(execution_id)

    def told() -> list[str]:
        return [
            e.message for e in site.instance.all_logs(run.run_id) if e.message.startswith(HANDED_OUT_AGAIN)
        ]

    wait_until(lambda: bool(told()), "the second worker's word", PATIENCE)
    assert told()[0] == f"{HANDED_OUT_AGAIN} STARTED: left alone"
    assert len([text for text in server.statements() if "SLEEP" in text]) == 1
    assert site.row(execution_id)["status"] == "running"
    assert len(site.runs(execution_id)) == 1
    site.set_query(QUICK)
    site.kill("first-worker")
    site.wait_for(execution_id, "completed")
    assert [found.status for found in site.runs(execution_id)][-1] == DagsterRunStatus.FAILURE
    assert site.mails() == before + 1


@on_rabbitmq
def test_after_kill_9_of_the_workers_another_one_finishes(site: Site, server: MariaDBServer) -> None:
    before = site.mails()
    site.set_query(SLOW)
    queried = site.ask_for_a_report()
    wait_until(lambda: sleeping(server), "the query", PATIENCE)
    site.set_query(QUICK)
    site.mail.script(RECIPIENT, "ANSWER", HANG)
    sent = site.ask_for_a_report()
    site.start("second-worker", "reporthub_dagster.cli", "worker", "--concurrency", "1")
    wait_until(lambda: site.mails() == before + 1, "the mail that is not answered", PATIENCE)
    for worker in ("worker", "second-worker"):
        site.kill(worker)
    site.start_worker("--grace", "60")
    assert site.wait_for(queried, "completed")["error_message"] is None
    told = site.wait_for(sent, "failed")["error_message"]
    assert f"{RECIPIENT}: an earlier attempt may have sent it" in told
    assert site.mails() == before + 2
    for execution_id in (queried, sent):
        (_, dead) = site.runs(execution_id)
        assert dead.status == DagsterRunStatus.FAILURE


@on_rabbitmq
def test_cancelled_in_the_ui_the_row_ends_and_the_query_is_gone(site: Site, server: MariaDBServer) -> None:
    wait_until(lambda: not sleeping(server), "the end of the last query", PATIENCE)
    before = site.mails()
    site.set_query(SLOW)
    execution_id = site.ask_for_a_report()
    wait_until(lambda: sleeping(server), "the query", PATIENCE)
    (run,) = site.runs(execution_id)
    answer = site.graphql(TERMINATE, run=run.run_id)
    assert answer == {"terminateRun": {"__typename": "TerminateRunSuccess"}}
    row = site.wait_for(execution_id, "cancelled", 60)
    assert row["error_message"] == "cancelled by a person"
    wait_until(lambda: not sleeping(server), "the end of the query", 10)
    wait_until(lambda: site.runs(execution_id)[0].status == DagsterRunStatus.CANCELED, "the end of the run")
    assert site.mails() == before


@on_rabbitmq
def test_told_to_end_a_worker_finishes_what_it_runs(site: Site, server: MariaDBServer) -> None:
    site.set_query("SELECT SLEEP(4) AS slept")
    execution_id = site.ask_for_a_report()
    wait_until(lambda: sleeping(server), "the query", PATIENCE)
    worker = site.processes["worker"]
    worker.terminate()
    later = site.ask_for_a_report()
    assert worker.wait(60) == 0
    assert site.row(execution_id)["status"] == "completed"
    assert site.row(later)["status"] == "queued"
    site.start_worker()
    site.wait_for(later, "completed")


@on_rabbitmq
def test_what_outlasts_the_grace_waits_for_another_worker(site: Site, server: MariaDBServer) -> None:
    before = site.mails()
    worker = worker_in_a_hurry(site)
    site.set_query(SLOW)
    execution_id = site.ask_for_a_report()
    wait_until(lambda: sleeping(server), "the query", PATIENCE)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(60) == 0
    assert site.row(execution_id)["status"] == "queued"
    site.set_query(QUICK)
    site.start_worker()
    site.wait_for(execution_id, "completed")
    assert site.go.row("SELECT attempts FROM reporthub_leases WHERE execution_id = :id", id=execution_id) == {
        "attempts": 0
    }
    assert site.mails() == before + 1


@on_rabbitmq
def test_told_to_end_while_the_databases_are_away_a_worker_ends_in_its_grace(
    site: Site, server: MariaDBServer
) -> None:
    before = site.mails()
    worker = worker_in_a_hurry(site)
    site.set_query(SLOW)
    execution_id = site.ask_for_a_report()
    wait_until(lambda: sleeping(server), "the query", PATIENCE)
    site.set_query(QUICK)
    server.stop()
    try:
        worker.terminate()
        assert worker.wait(1 + LAST_SECONDS) == 0, site.logs()
    finally:
        server.start()
    site.start_worker()
    site.wait_for(execution_id, "completed")
    assert site.mails() == before + 1


@on_rabbitmq
def test_a_database_restart_costs_a_running_report_a_pause(site: Site, server: MariaDBServer) -> None:
    before = site.mails()
    site.set_query("SELECT SLEEP(6) AS slept")
    execution_id = site.ask_for_a_report()
    wait_until(lambda: sleeping(server), "the query", PATIENCE)
    server.stop()
    server.start()
    site.wait_for(execution_id, "completed")
    assert site.mails() == before + 1


@on_rabbitmq
def test_after_kill_9_of_daemon_and_code_server_what_was_asked_for_runs_once(site: Site) -> None:
    before = site.mails()
    first = site.ask_for_a_report()
    site.kill("daemon")
    site.kill("code-server")
    second = site.ask_for_a_report()
    site.start_code_server()
    site.start_daemon()
    for execution_id in (first, second):
        site.wait_for(execution_id, "completed")
    assert site.mails() == before + 2
