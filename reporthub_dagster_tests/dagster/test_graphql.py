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
from urllib.error import HTTPError

import pytest
from dagster import DagsterInstance
from dagster_graphql.schema import create_schema
from graphql import parse, validate

from reporthub_dagster.partitions import report_keys
from reporthub_dagster.run_config import run_config_of
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
from reporthub_dagster_tests.servers.dagster import INSTANCE, DagsterServer
from reporthub_dagster_tests.servers.mariadb import MariaDBDatabase, MariaDBServer
from reporthub_dagster_tests.servers.process import binary, wait_until
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
def world(mariadb_server: MariaDBServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """An installation on MariaDB for all tests here; report 2 takes a minute."""
    home = tmp_path_factory.mktemp("graphql")
    (home / "share").mkdir()
    (home / "dagster.yaml").write_text(INSTANCE, encoding="utf-8")
    mariadb_server.start()
    database = MariaDBDatabase(mariadb_server, "test_graphql")
    mariadb_server.execute(f"CREATE DATABASE {database.name} CHARACTER SET utf8mb4")
    go = GoApi(database.url)
    with MailServer().running() as mail, pytest.MonkeyPatch.context() as patch:
        environ = {"REPORTHUB_HOME": str(home), "SCHEDULER_TIMEZONE": ZONE}
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
def server(world: World) -> Iterator[DagsterServer]:
    """The webserver and the code server of that installation."""
    with DagsterServer(world.home, {}).running() as server:
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
    answer = server.ask(call["query"], call["variables"])
    assert answer["__typename"] == "RunConfigValidationInvalid"
    assert 'unexpected config entry "config"' in answer["errors"][0]["message"]


LIVE_TESTS = re.findall(r"^func (Test\w+)", (GO_CLIENT / "live_test.go").read_text("utf-8"), re.MULTILINE)


@pytest.mark.parametrize("name", [name for name in LIVE_TESTS if "LocationThatIsDown" not in name])
def test_the_go_client(world: World, server: DagsterServer, name: str) -> None:
    go_test(server, name)


def test_the_go_client_without_servers() -> None:
    run_go("test", "-timeout", "60s", "./...")
    run_go("vet", "./...")
    assert run_go("fmt", "./...") == ""


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
    return done.stdout if arguments[0] == "fmt" else ""


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
        return str(server.ask(call["query"], call["variables"])["__typename"])
    except HTTPError as error:
        return f"HTTP {error.code}"
