"""Runs launched and terminated as the UI does it: through GraphQL and the default run launcher."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import psutil
import pytest
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import ModuleTarget
from dagster_graphql.test.utils import execute_dagster_graphql

from reporthub_dagster_tests.installation import World
from reporthub_dagster_tests.sandbox.conftest import kernel  # noqa: F401 - fails in CI where it is missing
from reporthub_dagster_tests.sandbox.processes import fork_servers
from reporthub_dagster_tests.servers.mariadb import MariaDBServer
from reporthub_dagster_tests.servers.process import wait_until

pytestmark = pytest.mark.parametrize("world", ["mariadb"], indirect=True)
TARGET = ModuleTarget("reporthub_dagster.definitions", "defs", None, "reporthub")
LAUNCH = """mutation ($config: RunConfigData!) {
  launchRun(executionParams: {
    selector: {
      repositoryLocationName: "reporthub", repositoryName: "__repository__", jobName: "execute_report"
    }
    runConfigData: $config
  }) { __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } }
}"""
TERMINATE = "mutation ($run: String!) { terminateRun(runId: $run) { __typename } }"


@pytest.fixture
def server(world: World) -> Iterator[WorkspaceProcessContext]:
    """The code location in its own process, as the webserver has it."""
    with WorkspaceProcessContext(world.instance, TARGET) as process:
        yield process


def ask(server: WorkspaceProcessContext, query: str, **variables: Any) -> Any:
    (answer,) = execute_dagster_graphql(server.create_request_context(), query, variables).data.values()
    return answer


def launched(world: World, server: WorkspaceProcessContext) -> str:
    config = {"ops": {"compute_time_range": {"config": {"config_id": 1}}}}
    run_id = str(ask(server, LAUNCH, config=config)["run"]["runId"])
    world.instance.launch_run(run_id, server.create_request_context())  # what the daemon does with the queue
    return run_id


def terminated(world: World, server: WorkspaceProcessContext, run_id: str) -> None:
    assert ask(server, TERMINATE, run=run_id) == {"__typename": "TerminateRunSuccess"}
    wait_until(lambda: world.execution(run_id)["status"] == "cancelled", "the outcome", 30)


def test_terminated_in_the_ui_the_row_ends_cancelled_and_what_it_began_is_gone(
    world: World, server: WorkspaceProcessContext, mariadb_server: MariaDBServer
) -> None:
    sleeps = json.dumps({"script": "import time\ntime.sleep(60)\nresult = data"})
    world.go.execute("UPDATE report_configs SET parameters = :p", p=sleeps)
    in_script = launched(world, server)
    wait_until(lambda: len(scripts_that_run()) == 1, "the script", 60)
    (script,) = scripts_that_run()
    family = [script, *script.parents()[:2]]
    terminated(world, server, in_script)
    assert not psutil.wait_procs(family, 30)[1], "the script, its fork server, the process of the run"

    world.go.execute("UPDATE report_configs SET report_query = 'SELECT SLEEP(60) FROM trx t'")
    in_query = launched(world, server)
    wait_until(lambda: sleeping(mariadb_server), "the query on the server", 60)
    terminated(world, server, in_query)
    wait_until(lambda: not sleeping(mariadb_server), "the end of the query", 10)

    for run_id in (in_script, in_query):
        wait_until(partial(is_canceled, world, run_id), "the end of the run", 30)
    assert world.mail.mails == []


def scripts_that_run() -> list[psutil.Process]:
    """Below the code location that this process started."""
    below = psutil.Process().children(recursive=True)
    return [one for process in below for server in fork_servers(process) for one in server.children()]


def is_canceled(world: World, run_id: str) -> bool:
    run = world.instance.get_run_by_id(run_id)
    return run is not None and run.status.value == "CANCELED"


def sleeping(server: MariaDBServer) -> bool:
    return any("SLEEP" in statement for statement in server.statements())
