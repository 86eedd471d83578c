"""A production installation: code server, daemon and worker as processes; MariaDB, a broker, mail."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import dagster as dg
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import GrpcServerTarget
from dagster_graphql.test.utils import execute_dagster_graphql

from reporthub_dagster.run_config import EXECUTION_TAG
from reporthub_dagster_tests.go_api import GoApi
from reporthub_dagster_tests.servers.process import free_port, log_tail, stop, wait_until
from reporthub_dagster_tests.servers.smtp import MailServer

ROOT = Path(__file__).parents[2]
RECIPIENT = "ana@finance.test"
QUICK = "SELECT 1 AS one"
SLOW = "SELECT SLEEP(600) AS slept"
PATIENCE = 120.0


@dataclass
class Site:
    """One installation; `environment` is what all its processes have.

    Attributes:
        home: Its folder, also `DAGSTER_HOME`.
        processes: What was started, by name.
        definitions: The module of the code location.
        daemon: The module of the daemon.
    """

    home: Path
    go: GoApi
    mail: MailServer
    environment: dict[str, str]
    instance: dg.DagsterInstance
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    definitions: str = "reporthub_dagster_tests.worker.quick_definitions"
    daemon: str = "reporthub_dagster_tests.servers.quick_daemon"

    def start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a process; its output is in `<name>.log`."""
        with (self.home / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                env=self.environment,
                cwd=self.home,
                stdout=log,
                stderr=log,
            )
        self.processes[name] = process
        return process

    def start_code_server(self) -> None:
        """Serve the definitions."""
        place = ("-h", "127.0.0.1", "-p", str(self.port), "--location-name", "reporthub")
        self.start("code-server", "dagster", "api", "grpc", "-m", self.definitions, *place)

    def start_daemon(self) -> None:
        """Run the sensors and the queue."""
        workspace = self.home / "workspace.yaml"
        server = f"{{host: 127.0.0.1, port: {self.port}, location_name: reporthub}}"
        workspace.write_text(f"load_from:\n  - grpc_server: {server}\n")
        self.start("daemon", self.daemon, "run", "-w", str(workspace))

    def start_worker(
        self, *options: str, name: str = "worker", module: str = "reporthub_dagster.cli"
    ) -> subprocess.Popen[bytes]:
        """Take runs from the broker."""
        one = ("--concurrency", "1", "--max-memory", "2000")
        return self.start(name, module, "worker", *one, *options)

    def kill(self, name: str) -> None:
        """End a process as a power cut would."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def ask_for_a_report(self) -> str:
        """What the Go API does: a queued row, and nothing else."""
        execution_id = str(uuid4())
        self.go.insert("report_executions", id=execution_id, config_id=1, status="queued", executed_by="go")
        return execution_id

    def set_query(self, query: str) -> None:
        """Change the report."""
        self.go.execute("UPDATE report_configs SET report_query = :query", query=query)

    def row(self, execution_id: str) -> dict[str, Any]:
        """An execution."""
        return self.go.row("SELECT * FROM report_executions WHERE id = :id", id=execution_id)

    def wait_for(self, execution_id: str, status: str, seconds: float = PATIENCE) -> dict[str, Any]:
        """An execution when it has come to a status; the processes' logs when it does not."""
        try:
            wait_until(lambda: self.row(execution_id)["status"] == status, status, seconds)
        except TimeoutError as error:
            raise AssertionError(f"{error}: {self.row(execution_id)}\n{self.logs()}") from None
        return self.row(execution_id)

    def runs(self, execution_id: str) -> list[dg.DagsterRun]:
        """The runs of an execution, the latest first."""
        return list(self.instance.get_runs(dg.RunsFilter(tags={EXECUTION_TAG: execution_id})))

    def graphql(self, query: str, **variables: Any) -> Any:
        """The answer of the API that the webserver serves."""
        target = GrpcServerTarget("127.0.0.1", self.port, None, "reporthub")
        with WorkspaceProcessContext(self.instance, target) as server:
            answer = execute_dagster_graphql(server.create_request_context(), query, variables)
        return answer.data

    def mails(self) -> int:
        """How many mails were sent so far."""
        return len(self.mail.to(RECIPIENT))

    def logs(self) -> str:
        """The end of what every process said."""
        return "\n".join(f"== {log.name}\n{log_tail(log, 15)}" for log in sorted(self.home.glob("*.log")))


@contextmanager
def running_site(home: Path, hub_url: str, dagster_url: str, broker: str, source_url: str) -> Iterator[Site]:
    """An installation with one report that goes to one person by mail; its processes end with the block."""
    shutil.copy(ROOT / "deploy" / "dagster.yaml", home)
    with MailServer().running() as mail:
        environment = {
            **os.environ,
            **mail.environ,
            "PYTHONPATH": str(ROOT),
            "DAGSTER_HOME": str(home),
            "REPORTHUB_HOME": str(home),
            "REPORTHUB_DATABASE_URL": hub_url,
            "DAGSTER_MYSQL_URL": dagster_url,
            "REPORTHUB_BROKER_URL": broker,
            "MAX_CONCURRENT_EXECUTIONS": "10",
            "SCHEDULER_CHECK_INTERVAL_SECONDS": "5",
        }
        go = GoApi(hub_url)
        go.create_tables()
        go.insert("report_datasources", id=1, name="s", connection_url=source_url, db_type="mysql")
        go.insert("report_configs", id=1, report_name="R", report_query=QUICK, datasource_id=1)
        go.insert(
            "report_deliveries", id=1, config_id=1, delivery_name="F", method="email", delivery_config={}
        )
        go.insert("report_delivery_recipients", id=1, delivery_id=1, recipient_value=RECIPIENT)
        with dg.DagsterInstance.get() as instance:
            site = Site(home, go, mail, environment, instance)
            try:
                yield site
            finally:
                for process in site.processes.values():
                    stop(process, 30)
                go.close()
