"""A real Dagster webserver, the code server it talks to, a daemon and a warm worker, as processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
from dagster import DagsterInstance

from reporthub_dagster_tests.servers.process import free_port, log_tail, stop, wait_until

INSTANCE = """\
telemetry: {enabled: false}
nux: {enabled: false}
compute_logs: {module: dagster._core.storage.noop_compute_log_manager, class: NoOpComputeLogManager}
run_launcher:
  module: reporthub_dagster.worker.launcher
  class: ReportRunLauncher
  config: {broker: {env: REPORTHUB_BROKER_URL}}
"""
AT_ONCE = """\
# No daemon: what is launched starts at once.
run_coordinator: {module: dagster._core.run_coordinator, class: DefaultRunCoordinator}
"""
PATIENCE = 120.0
"""Seconds that a process may take to be ready."""
MOST_RUNS_OF_A_SOURCE = 2
QUEUED = f"""\
run_coordinator:
  module: reporthub_dagster.run_queue
  class: ReportRunCoordinator
  config:
    max_concurrent_runs: 5
    tag_concurrency_limits:
      - key: reporthub/datasource_id
        value: {{applyLimitPerUniqueValue: true}}
        limit: {MOST_RUNS_OF_A_SOURCE}
    dequeue_interval_seconds: 1
"""
ROOT = Path(__file__).parents[2]
WORKSPACE = """\
load_from:
  - grpc_server: {{host: 127.0.0.1, port: {port}, location_name: reporthub}}
"""


@dataclass
class DagsterServer:
    """A webserver on an instance, and what else runs there; its code server may be stopped and started again.

    Attributes:
        home: Folder of the instance, with its `dagster.yaml`.
        broker: Where runs wait for a worker; where none is started it need not exist.
        definitions: The module of the code location.
    """

    home: Path
    broker: str = "redis://127.0.0.1:1/0"
    definitions: str = "reporthub_dagster.definitions"
    port: int = field(default_factory=free_port)
    code_port: int = field(default_factory=free_port)
    _processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict, repr=False)

    @property
    def url(self) -> str:
        """Where the UI is."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def workspace(self) -> Path:
        """The file that names the code server."""
        return self.home / "workspace.yaml"

    def ask(self, query: str, variables: Mapping[str, Any] | None = None) -> Any:
        """The one field that a GraphQL document asks for.

        Raises:
            httpx.HTTPStatusError: The webserver could not answer.
        """
        asked = {"query": query, "variables": dict(variables or {})}
        (answer,) = (
            httpx.post(f"{self.url}/graphql", json=asked, timeout=30)
            .raise_for_status()
            .json()["data"]
            .values()
        )
        return answer

    def start_code(self) -> None:
        """Start the code server; the webserver finds it by itself."""
        module = ("-m", self.definitions, "-a", "defs")
        where = ("-h", "127.0.0.1", "-p", str(self.code_port))
        self._start("code", "dagster", "api", "grpc", *module, *where)

    def stop_code(self) -> None:
        """End the code server."""
        stop(self._processes.pop("code"))

    def start_worker(self, concurrency: int) -> None:
        """Start what runs are handed to; it is warm, so that a run costs a fraction of a second."""
        options = ("--concurrency", str(concurrency), "--max-memory", "2000", "--grace", "1")
        self._start("worker", "reporthub_dagster.cli", "worker", *options)

    def start_daemon(self) -> None:
        """Start what ticks, takes runs from Dagster's queue and launches backfills; each of its loops runs.

        Raises:
            RuntimeError: One does not; says what the servers' logs end with.
        """
        module = "reporthub_dagster_tests.servers.quick_daemon"
        self._start("daemon", module, "run", "-w", str(self.workspace))
        self._wait_for(self._daemon_runs, "the daemon")

    def start_viewer(self, port: int) -> None:
        """Start a second webserver for people who may only look, at the address that is its default."""
        self._start("viewer", "dagster_webserver", "--read-only", "-p", str(port), "-w", str(self.workspace))

    def addresses(self) -> set[str]:
        """Where its processes listen."""
        processes = [psutil.Process(process.pid) for process in self._processes.values()]
        return {
            connection.laddr.ip.removeprefix("::ffff:")
            for parent in processes
            for process in (parent, *parent.children(recursive=True))
            for connection in process.net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        }

    @contextmanager
    def running(self) -> Iterator[DagsterServer]:
        """Webserver and code server, from when the code location is loaded; all ends with the block."""
        self.workspace.write_text(WORKSPACE.format(port=self.code_port), encoding="utf-8")
        # Two servers that make its files at once can leave them with two revisions: nothing opens them again.
        DagsterInstance.from_config(str(self.home)).dispose()
        try:
            self.start_code()
            where = ("-h", "127.0.0.1", "-p", str(self.port), "-w", str(self.workspace))
            self._start("webserver", "dagster_webserver", *where)
            self.wait_for_location()
            yield self
        finally:
            for process in reversed(self._processes.values()):
                stop(process)

    def wait_for_location(self) -> None:
        """Wait until the webserver has the code location.

        Raises:
            RuntimeError: It does not come; says what the servers' logs end with.
        """
        self._wait_for(self._is_loaded, "the code location")

    def logs(self) -> str:
        """The end of what every process said, and where the daemon's threads are."""
        if "daemon" in self._processes:
            self._processes["daemon"].send_signal(signal.SIGUSR1)
            time.sleep(1)
        said = (
            f"== {name}, {'runs' if process.poll() is None else f'ended: {process.returncode}'}\n"
            + log_tail(self.home / f"{name}.log", 200)
            for name, process in self._processes.items()
        )
        return "\n".join(said)

    def _wait_for(self, ready: Callable[[], bool], what: str) -> None:
        try:
            wait_until(ready, what, PATIENCE)
        except TimeoutError as error:
            raise RuntimeError(f"{error}\n{self.logs()}") from error

    def _daemon_runs(self) -> bool:
        document = "{ instance { daemonHealth { allDaemonStatuses { daemonType required healthy } } } }"
        loops = self.ask(document)["daemonHealth"]["allDaemonStatuses"]
        return all(loop["healthy"] for loop in loops if loop["required"])

    def _is_loaded(self) -> bool:
        document = """{ repositoryOrError(repositorySelector: {
          repositoryLocationName: "reporthub", repositoryName: "__repository__"
        }) { __typename } }"""
        return bool(self.ask(document)["__typename"] == "Repository")

    def _start(self, name: str, *command: str) -> None:
        environ = {
            **os.environ,
            "DAGSTER_HOME": str(self.home),
            "REPORTHUB_BROKER_URL": self.broker,
            "PYTHONPATH": str(ROOT),
        }
        with (self.home / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", *command], stdout=log, stderr=log, env=environ, cwd=self.home
            )
