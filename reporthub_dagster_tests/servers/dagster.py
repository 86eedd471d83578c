"""A real Dagster webserver, and the code server that it talks to, in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reporthub_dagster_tests.servers.process import free_port, log_tail, stop, wait_until

INSTANCE = """\
telemetry: {enabled: false}
nux: {enabled: false}
compute_logs: {module: dagster._core.storage.noop_compute_log_manager, class: NoOpComputeLogManager}
# No daemon: what is launched starts at once.
run_coordinator: {module: dagster._core.run_coordinator, class: DefaultRunCoordinator}
"""
WORKSPACE = """\
load_from:
  - grpc_server: {{host: 127.0.0.1, port: {port}, location_name: reporthub}}
"""


@dataclass
class DagsterServer:
    """A webserver on an instance; its code server may be stopped and started again.

    Attributes:
        home: Folder of the instance; its `dagster.yaml` is written on the first start unless it is there.
        environ: What differs from the environment of the tests.
    """

    home: Path
    environ: Mapping[str, str]
    port: int = field(default_factory=free_port)
    code_port: int = field(default_factory=free_port)
    _webserver: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _code: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """Where the UI is."""
        return f"http://127.0.0.1:{self.port}"

    def ask(self, document: str, variables: Mapping[str, Any] | None = None) -> Any:
        """The one field that a GraphQL document asks for."""
        body = json.dumps({"query": document, "variables": dict(variables or {})}).encode()
        request = urllib.request.Request(
            f"{self.url}/graphql", body, {"Content-Type": "application/json", "Accept": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            (answer,) = json.load(response)["data"].values()
        return answer

    def start_code(self) -> None:
        """Start the code server unless it runs; the webserver finds it by itself."""
        if self._code is None:
            module = ("-m", "reporthub_dagster.definitions", "-a", "defs")
            where = ("-h", "127.0.0.1", "-p", str(self.code_port))
            self._code = self._start("code", "dagster", "api", "grpc", *module, *where)

    def stop_code(self) -> None:
        """End the code server; idempotent."""
        if self._code is not None:
            stop(self._code)
            self._code = None

    @contextmanager
    def running(self) -> Iterator[DagsterServer]:
        """Both servers, from when the code location is loaded."""
        if not (self.home / "dagster.yaml").exists():
            (self.home / "dagster.yaml").write_text(INSTANCE, encoding="utf-8")
        workspace = self.home / "workspace.yaml"
        workspace.write_text(WORKSPACE.format(port=self.code_port), encoding="utf-8")
        try:
            self.start_code()
            where = ("-h", "127.0.0.1", "-p", str(self.port), "-w", str(workspace))
            self._webserver = self._start("webserver", "dagster_webserver", *where)
            self.wait_for_location()
            yield self
        finally:
            if self._webserver is not None:
                stop(self._webserver)
            self.stop_code()

    def wait_for_location(self) -> None:
        """Wait until the webserver has the code location.

        Raises:
            RuntimeError: It does not come; says what the servers' logs end with.
        """
        try:
            wait_until(self._is_loaded, "the code location", 60)
        except TimeoutError as error:
            logs = (log_tail(self.home / f"{name}.log") for name in ("code", "webserver"))
            raise RuntimeError("\n".join((str(error), *logs))) from error

    def _is_loaded(self) -> bool:
        document = """{ repositoryOrError(repositorySelector: {
          repositoryLocationName: "reporthub", repositoryName: "__repository__"
        }) { __typename } }"""
        return bool(self.ask(document)["__typename"] == "Repository")

    def _start(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        environ = {**os.environ, **self.environ, "DAGSTER_HOME": str(self.home)}
        with (self.home / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", *command], stdout=log, stderr=log, env=environ, cwd=self.home
            )
