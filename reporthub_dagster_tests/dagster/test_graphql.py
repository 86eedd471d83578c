"""What other programs ask over GraphQL: docs/graphql.md with curl, the Go client, Python; on real servers."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import dagster as dg
import httpx
import pytest
from dagster import AssetKey, DagsterInstance
from dagster_graphql.schema import create_schema
from graphql import parse, validate

from reporthub_dagster.definitions import wiring
from reporthub_dagster.partitions import report_keys
from reporthub_dagster.run_config import EXECUTION_TAG, run_config_of
from reporthub_dagster_tests.go_api import GoApi
from reporthub_dagster_tests.installation import (
    YESTERDAY,
    ZONE,
    World,
    create_tables,
    fill_mariadb,
    insert_rows,
    mysql_settings,
)
from reporthub_dagster_tests.servers.dagster import AT_ONCE, INSTANCE, DagsterServer
from reporthub_dagster_tests.servers.mariadb import MariaDBDatabase, MariaDBServer
from reporthub_dagster_tests.servers.process import binary, free_port, stop, wait_until
from reporthub_dagster_tests.servers.smtp import MailServer

ROOT = Path(__file__).parents[2]
GO_CLIENT = ROOT / "examples" / "go"
GO_DRIVER = Path("/usr/share/gocode/src/github.com/go-sql-driver/mysql")
DOCUMENT = (ROOT / "docs" / "graphql.md").read_text(encoding="utf-8")
CALLS: list[str] = re.findall(r"```sh\n(curl .*?)```", DOCUMENT, re.DOTALL)
EXECUTION = "9c6d5f0a-6d0c-4a0e-8f43-1d9e6f7f2b11"
RUN = "b1f7c9de-30f5-4a52-9e55-6d0f0f6a7c01"
ENDED = {"SUCCESS", "FAILURE", "CANCELED"}


def payload(call: str) -> dict[str, Any]:
    """What a curl command of the document posts."""
    found = re.search(r"<<'EOF'\n(.*?)\nEOF", call, re.DOTALL)
    assert found
    document: dict[str, Any] = json.loads(found[1])
    return document


def field_of(call: str) -> str:
    """The field that a command of the document asks for."""
    found = re.search(r"\{ (\w+)", payload(call)["query"])
    assert found
    return str(found[1])


def call_named(field: str) -> str:
    """The command of the document that asks for a field."""
    (found,) = (call for call in CALLS if field_of(call) == field)
    return found


@pytest.fixture(scope="module")
def world(
    mariadb_server: MariaDBServer, redis_database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """An installation on MariaDB for all tests here; report 2 takes a minute."""
    home = tmp_path_factory.mktemp("graphql")
    (home / "share").mkdir()
    (home / "dagster.yaml").write_text(INSTANCE + AT_ONCE, encoding="utf-8")
    mariadb_server.start()
    database = MariaDBDatabase(mariadb_server, "test_graphql")
    mariadb_server.execute(f"CREATE DATABASE {database.name} CHARACTER SET utf8mb4")
    go = GoApi(database.url)
    with MailServer().running() as mail, pytest.MonkeyPatch.context() as patch:
        environ = {
            "REPORTHUB_HOME": str(home),
            "REPORTHUB_BROKER_URL": redis_database_url,
            "SCHEDULER_TIMEZONE": ZONE,
        }
        for name, value in {**environ, **mail.environ, **mysql_settings(database)}.items():
            patch.setenv(name, value)
        fill_mariadb(database)
        go.create_tables()
        create_tables()
        with DagsterInstance.from_config(str(home)) as instance:
            source_url = mariadb_server.url(database.name, scheme="mysql")
            world = World(home, source_url, "mysql", go, mail, instance)
            insert_rows(world)
            slow = {"report_query": "SELECT SLEEP(60) FROM trx t", "parameters": {}}
            go.insert("report_configs", id=2, report_name="Slow", datasource_id=1, **slow)
            server = database.server
            address = f"{server.user}:{server.password}@tcp({server.host}:{server.port})/{database.name}"
            (home / "dsn").write_text(f"{address}?parseTime=true", encoding="utf-8")
            yield world
    go.close()
    mariadb_server.execute(f"DROP DATABASE {database.name}")


@pytest.fixture(scope="module")
def server(world: World, redis_database_url: str) -> Iterator[DagsterServer]:
    """The webserver, the code server and a worker of that installation."""
    with DagsterServer(world.home, redis_database_url).running() as server:
        server.start_worker(2)
        yield server


def curl(server: DagsterServer, call: str) -> Any:
    """Run a command of the document as its reader would."""
    environ = {**os.environ, "DAGSTER_URL": server.url, "DAGSTER_TOKEN": "t0ken"}
    command = [binary("bash"), "-euo", "pipefail", "-c", call]
    binary("curl")
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    (answer,) = json.loads(done.stdout)["data"].values()
    return answer


@pytest.mark.parametrize("call", CALLS, ids=field_of)
def test_every_document_fits_dagsters_schema(call: str) -> None:
    assert validate(create_schema().graphql_schema, parse(payload(call)["query"])) == []


@pytest.mark.parametrize(("job", "config"), re.findall(r"^\| `(\w+)` \| `(\{.*?\})`", DOCUMENT, re.MULTILINE))
def test_every_config_of_the_document_fits_its_job(job: str, config: str) -> None:
    assert dg.validate_run_config(wiring().resolve_job_def(job), json.loads(config))


def test_the_commands_of_the_document_launch_watch_and_look_around(
    world: World, server: DagsterServer
) -> None:
    launched = curl(server, call_named("launchRun").replace('"config_id": 12', '"config_id": 1'))
    assert launched["__typename"] == "LaunchRunSuccess"
    run_id = launched["run"]["id"]
    assert [run["id"] for run in curl(server, call_named("runsOrError"))["results"]] == [run_id]
    watch = call_named("runOrError").replace(RUN, run_id)
    wait_until(lambda: curl(server, watch)["status"] in ENDED, "the end of the run", 60)
    assert world.execution(EXECUTION)["status"] == "completed"
    assert world.execution(EXECUTION)["executed_by"] == "ana"
    assert curl(server, call_named("sensorOrError"))["sensorState"]["status"] == "RUNNING"
    assert curl(server, call_named("instance"))["daemonHealth"]["allDaemonStatuses"]
    assert curl(server, call_named("terminateRun"))["__typename"] == "RunNotFoundError"
    ended = curl(server, call_named("terminateRun").replace(RUN, run_id))
    assert (ended["__typename"], "having status SUCCESS" in ended["message"]) == ("TerminateRunFailure", True)


def test_dates_of_a_report_become_a_backfill_and_an_unknown_key_does_not(
    world: World, server: DagsterServer
) -> None:
    world.instance.add_dynamic_partitions(str(report_keys.name), ["1-sales"])
    call = call_named("launchPartitionBackfill")
    for day, long_ago in ((YESTERDAY, "2025-01-31"), (YESTERDAY - timedelta(days=1), "2025-01-30")):
        call = call.replace(long_ago, f"{day:%Y-%m-%d}")
    assert curl(server, call)["__typename"] != "LaunchBackfillSuccess"
    launched = curl(server, call.replace("12-daily-sales", "1-sales"))
    assert launched["__typename"] == "LaunchBackfillSuccess"
    backfill = world.instance.get_backfill(launched["backfillId"])
    assert backfill is not None
    assert backfill.tags["reporthub/executed_by"] == "ana"


def test_a_bad_config_is_refused_before_anything_runs(server: DagsterServer) -> None:
    call = payload(call_named("launchRun"))
    call["variables"]["launch"]["runConfigData"] = {"ops": {"compute_time_range": {"config": {"config": 12}}}}
    answer = server.ask(**call)
    assert answer["__typename"] == "RunConfigValidationInvalid"
    assert 'unexpected config entry "config"' in answer["errors"][0]["message"]


def test_every_kind_of_re_execution_goes_on_with_the_same_execution(
    world: World, server: DagsterServer
) -> None:
    """In the end everybody has it once, from one query and one file."""
    go, folder = world.go, world.home / "later"
    columns = ("name", "connection_url", "db_type")
    source = go.row("SELECT connection_url, db_type FROM report_datasources WHERE id = 1")
    go.insert("report_datasources", id=3, **dict(zip(columns, ("again", *source.values()), strict=True)))
    go.insert("report_configs", id=3, report_name="Again", report_query="SELECT 1 AS a", datasource_id=3)
    go.insert("report_deliveries", id=31, config_id=3, delivery_name="A", method="email", delivery_config={})
    go.insert("report_delivery_recipients", id=31, delivery_id=31, recipient_value="eva@finance.test")
    place = {"path": str(folder)}
    go.insert(
        "report_deliveries", id=32, config_id=3, delivery_name="B", method="file_share", delivery_config=place
    )

    def ends(answer: Any) -> tuple[str, str]:
        run_id = answer["run"]["id"]
        watch = call_named("runOrError").replace(RUN, run_id)
        wait_until(lambda: curl(server, watch)["status"] in ENDED, "the end of the run", 60)
        return run_id, curl(server, watch)["status"]

    def again(run_id: str, strategy: str) -> tuple[str, str]:
        call = call_named("launchRunReexecution").replace(RUN, run_id)
        return ends(curl(server, call.replace("FROM_FAILURE", strategy)))

    call = call_named("launchRun").replace('"config_id": 12', '"config_id": 3')
    first, status = ends(curl(server, call.replace(EXECUTION, "")))
    assert status == "FAILURE"
    # Whoever queries again fails.
    go.execute("UPDATE report_datasources SET connection_url = 'mysql://127.0.0.1:1/gone' WHERE id = 3")
    second, status = again(first, "FROM_FAILURE")
    assert status == "FAILURE"
    folder.mkdir()
    assert again(second, "ALL_STEPS")[1] == "SUCCESS"
    (row,) = go.rows("SELECT id, status FROM report_executions WHERE config_id = 3")
    assert row == {"id": first, "status": "completed"}
    assert len(world.mail.to("eva@finance.test")) == 1
    assert len(list(folder.iterdir())) == 1
    made = world.instance.fetch_materializations(AssetKey(["reports", "3-again"]), limit=10)
    assert len(made.records) == 1


def test_asked_for_twice_in_python_it_runs_once_and_ends_when_it_is_cancelled(
    world: World, server: DagsterServer
) -> None:
    execution_id = str(uuid4())
    tags = [{"key": EXECUTION_TAG, "value": execution_id}]
    launch, find = payload(call_named("launchRun")), payload(call_named("runsOrError"))
    launch["variables"]["launch"] |= {
        "runConfigData": run_config_of({"execution_id": execution_id, "config_id": 2}),
        "executionMetadata": {"tags": tags},
    }
    for _ in range(2):
        assert server.ask(**launch)["__typename"] == "LaunchRunSuccess"
    find["variables"]["filter"]["tags"] = tags

    def runs() -> dict[str, str]:
        return {run["status"]: run["id"] for run in server.ask(**find)["results"]}

    wait_until(lambda: runs().keys() == {"STARTED", "SUCCESS"}, "the run that finds it taken", 60)
    assert world.execution(execution_id)["status"] == "running"
    cancel = payload(call_named("terminateRun"))
    cancel["variables"]["run"] = runs()["STARTED"]
    assert server.ask(**cancel)["__typename"] == "TerminateRunSuccess"
    wait_until(lambda: world.execution(execution_id)["status"] == "cancelled", "the end of the execution", 60)


def test_behind_nginx_a_token_says_who_may_launch_and_nothing_listens_to_the_outside(
    server: DagsterServer, tmp_path: Path
) -> None:
    door, viewer = free_port(), free_port()
    server.start_viewer(viewer)
    conf = (ROOT / "deploy" / "nginx.conf").read_text(encoding="utf-8")
    for standing, here in ((8080, door), (3000, server.port), (3001, viewer)):
        conf = conf.replace(f"127.0.0.1:{standing}", f"127.0.0.1:{here}")
    (tmp_path / "nginx.conf").write_text(conf, encoding="utf-8")
    tokens = '"Bearer 0perator" operator;\n"Basic dmVyYTpzZWNyZXQ=" viewer;\n'
    (tmp_path / "tokens.map").write_text(tokens, encoding="utf-8")
    options = f"daemon off; pid {tmp_path / 'pid'};"
    nginx = subprocess.Popen(
        [binary("nginx"), "-e", "stderr", "-p", tmp_path, "-c", tmp_path / "nginx.conf", "-g", options]
    )
    launch = payload(call_named("launchRun"))

    def says_to(**headers: str) -> Any:
        url = f"http://127.0.0.1:{door}/graphql"
        answer = httpx.post(url, json=launch, headers=headers, timeout=30)
        if answer.status_code != httpx.codes.OK:
            return answer.status_code
        return answer.json()["data"]["launchRun"]["__typename"]

    vera = "Basic dmVyYTpzZWNyZXQ="
    try:
        wait_until(lambda: says_to(Authorization=vera) == "UnauthorizedError", "the viewers' webserver", 60)
        assert [says_to(), says_to(Authorization="Bearer wr0ng")] == [401, 401]
        launch["variables"]["launch"]["runConfigData"] = {"ops": {"nothing": {}}}
        assert says_to(Authorization="Bearer 0perator") == "RunConfigValidationInvalid"
        assert server.addresses() == {"127.0.0.1"}
    finally:
        stop(nginx)


LIVE_TESTS = re.findall(r"^func (Test\w+)", (GO_CLIENT / "live_test.go").read_text("utf-8"), re.MULTILINE)


@pytest.mark.parametrize("name", [name for name in LIVE_TESTS if "LocationThatIsDown" not in name])
def test_the_go_client(world: World, server: DagsterServer, name: str) -> None:
    go_test(server, name)


def test_the_go_client_without_servers() -> None:
    run_go("test", "-timeout", "60s", "./...")
    run_go("vet", "./...")
    assert run_go("fmt", "./...") == ""


def test_the_go_command_runs_a_report_and_waits_for_it(
    world: World, server: DagsterServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_URL", server.url)
    said = run_go("run", "./cmd/report", "-config", "1", "-deliver", "me", "-by", "go@example.com")
    execution_id = said.split("execution ")[1].split(":")[0]
    assert (said.splitlines()[-1].split()[-1], world.execution(execution_id)["status"]) == (
        "SUCCESS",
        "completed",
    )
    assert len(world.mail.to("go@example.com")) == 1


def go_test(server: DagsterServer, name: str) -> None:
    """Run one test of the Go client against the servers."""
    test = server.home / "reporthub.test"
    if not test.exists():
        modfile = server.home / "go.mod"
        own = (GO_CLIENT / "go.mod").read_text("utf-8")
        if not GO_DRIVER.exists():
            binary("golang-github-go-sql-driver-mysql-dev")
        needs = "github.com/go-sql-driver/mysql v0.0.0"
        replaced = f"github.com/go-sql-driver/mysql => {GO_DRIVER}"
        modfile.write_text(f"{own}\nrequire {needs}\nreplace {replaced}\n", encoding="utf-8")
        run_go("test", "-modfile", str(modfile), "-tags", "live", "-c", "-o", str(test), ".")
    environ = {
        **os.environ,
        "REPORTHUB_TEST_URL": f"{server.url}/graphql",
        "REPORTHUB_TEST_DSN": (server.home / "dsn").read_text("utf-8"),
    }
    command = [str(test), "-test.run", f"^{name}$", "-test.v", "-test.timeout", "240s"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=250, check=False)
    assert f"--- PASS: {name}" in done.stdout, done.stdout + done.stderr


def run_go(*arguments: str) -> str:
    """Run the go command in the client's folder; it needs no network."""
    environ = {**os.environ, "GOFLAGS": "-mod=mod", "GOPROXY": "off", "GOTOOLCHAIN": "local"}
    done = subprocess.run(
        [binary("go"), *arguments],
        cwd=GO_CLIENT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_location_that_is_down_is_worth_another_try(world: World, server: DagsterServer) -> None:
    call = payload(call_named("launchRun"))
    # That execution is done: the run that this starts in the end finds nothing to do.
    call["variables"]["launch"]["runConfigData"] = run_config_of({"execution_id": EXECUTION})
    server.stop_code()
    assert says(server, call) in {"HTTP 500", "PipelineNotFoundError"}
    go_test(server, "TestALocationThatIsDownIsRetryable")
    wait_until(lambda: says(server, call) == "PipelineNotFoundError", "the webserver to notice", 60)
    go_test(server, "TestALocationThatIsDownIsRetryable")
    server.start_code()
    wait_until(lambda: says(server, call) == "LaunchRunSuccess", "the location", 60)


def says(server: DagsterServer, call: dict[str, Any]) -> str:
    """What kind of answer a call gets."""
    try:
        return str(server.ask(**call)["__typename"])
    except httpx.HTTPStatusError as error:
        return f"HTTP {error.response.status_code}"
