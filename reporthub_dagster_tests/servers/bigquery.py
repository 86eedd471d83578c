"""BigQuery for tests: the emulator bqemulator, behind a front of ours that does what it cannot.

The front answers jobs over long results and jobs that stall by itself, and asks for tokens where a test wants
it to.
"""

from __future__ import annotations

import json
import re
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from subprocess import Popen
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from reporthub_dagster_tests.servers.process import (
    PrivateServer,
    free_port,
    private,
    script_python,
    wait_until,
)
from reporthub_dagster_tests.servers.stand_in import body_of

PROJECT = "shop"
_LONG = re.compile(r"GENERATE_ARRAY\(1, (\d{6,})\)")
_STALLED = "FROM stalled"
_NAMED = re.compile(r"\b(INSERT INTO|CREATE TABLE|FROM) ")
_WRITTEN = re.compile(r"^(INSERT INTO|CREATE TABLE) ")
"""The emulator takes the default dataset for tables that are read, and of jobs only."""
_COLUMNS = [{"name": "n", "type": "INTEGER"}, {"name": "pad", "type": "STRING"}]
_PAD = re.compile(r"REPEAT\('x', (\d+)\)")
_JSON = {"Content-Type": "application/json"}
_POLL_MS = 10_000
"""For which the API holds a request for rows that are not there yet, unless it says `timeoutMs`."""


class BigQueryEmulator(PrivateServer):
    """A running bqemulator."""

    def __init__(self, home: Path, port: int) -> None:
        self.home = home
        self.port = port
        self._process: Popen[bytes] | None = None

    def create(self) -> None:
        """See `PrivateServer.create`; it takes about ten seconds."""
        script = Path(__file__).with_name("bigquery_emulator.py")
        with (self.home / "log").open("wb") as log:
            given = [str(script), str(self.home), str(self.port), str(free_port())]
            self._process = Popen([str(script_python(script)), *given], stdout=log, stderr=log)
        datasets = f"/bigquery/v2/projects/{PROJECT}/datasets"
        wait_until(lambda: "kind" in ask(self.port, "GET", datasets), "bqemulator", 90)

    def stop(self) -> None:
        """See `PrivateServer.stop`."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def ask(port: int, method: str, path: str, body: Any = None) -> dict[str, Any]:
    """One request; returns the document of the answer."""
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    sent = json.dumps(body).encode() if body is not None else None
    document: dict[str, Any] = json.loads(body_of(connection, method, path, sent, _JSON))
    return document


@dataclass
class Job:
    """A job of the front's own."""

    sql: str
    rows: int
    milliseconds: int
    reason: str = ""
    begun: float = field(default_factory=time.monotonic)

    @property
    def ended(self) -> str:
        """Why it has ended; empty while it runs."""
        late = time.monotonic() - self.begun > self.milliseconds / 1000
        return self.reason or ("timeout" if late and not self.rows else "")


class BigQueryFront(ThreadingHTTPServer):
    """As much of the REST API as the emulator has not, or has otherwise; the rest goes through to it."""

    daemon_threads = True

    def __init__(self, emulator: BigQueryEmulator) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.emulator = emulator
        self.dataset = f"test_{secrets.token_hex(6)}"
        self.jobs: dict[str, Job] = {}
        self.configurations: list[dict[str, Any]] = []
        """Of every job, as it was sent."""
        self.token = ""
        """What a request must carry; empty: nothing."""
        self.sockets: list[socket.socket] = []

    @property
    def address(self) -> str:
        """URL of the API."""
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def url(self) -> str:
        """URL of the data source."""
        return f"bigquery://{PROJECT}/{self.dataset}?endpoint={quote(self.address, safe='')}"

    def execute(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements in the dataset; returns the rows of the last one, its integers as such."""
        answer: dict[str, Any] = {}
        for statement in statements:
            sql = _NAMED.sub(rf"\g<0>{self.dataset}.", statement)
            body = {"query": sql, "useLegacySql": False}
            answer = ask(self.emulator.port, "POST", f"/bigquery/v2/projects/{PROJECT}/queries", body)
        cells = [[cell["v"] for cell in row["f"]] for row in answer.get("rows", [])]
        return [tuple(int(cell) if cell.isdecimal() else cell for cell in row) for row in cells]

    def statements(self) -> list[str]:
        """What runs at this moment, of the front's own."""
        return [job.sql for job in self.jobs.values() if not job.ended]

    def kill(self) -> None:
        """Be gone, as after a power cut."""
        self.shutdown()
        self.server_close()
        for one in self.sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def process_request(self, request: Any, client_address: Any) -> None:
        """See the base class; connections are kept, to be cut."""
        self.sockets.append(request)
        super().process_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients hang up."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: BigQueryFront

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it
        """Nothing."""

    def do_POST(self) -> None:
        """A new job, the end of one, or something for the emulator."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not self._is_let_in():
            return
        path = urlsplit(self.path).path
        if path.endswith("/jobs"):
            self._insert(body)
        elif path.endswith("/cancel") and (job := self.server.jobs.get(path.split("/")[-2])):
            job.reason = job.reason or "stopped"
            self._answer({"job": self._job(path.split("/")[-2], job)})
        else:
            self._pass(body)

    def do_GET(self) -> None:
        """A job, a page of its rows, or something for the emulator."""
        if not self._is_let_in():
            return
        parts = urlsplit(self.path)
        name = parts.path.rpartition("/")[2]
        job = self.server.jobs.get(name)
        if job is None:
            self._pass(b"")
        elif "/queries/" in parts.path:
            self._rows(name, job, {key: values[0] for key, values in parse_qs(parts.query).items()})
        else:
            self._answer(self._job(name, job))

    def _is_let_in(self) -> bool:
        given = self.headers.get("Authorization", "")
        if not self.server.token or given == f"Bearer {self.server.token}":
            return True
        error = {"code": 401, "message": "Request had invalid authentication credentials.", "errors": []}
        self._answer({"error": error}, 401)
        return False

    def _insert(self, body: bytes) -> None:
        sent = json.loads(body)
        configuration = sent["configuration"]
        self.server.configurations.append(configuration)
        sql = configuration["query"]["query"]
        long = _LONG.search(sql)
        if long is None and _STALLED not in sql:
            configuration["query"]["query"] = _WRITTEN.sub(rf"\g<0>{self.server.dataset}.", sql)
            self._pass(json.dumps(sent).encode())
            return
        name = sent.get("jobReference", {}).get("jobId") or secrets.token_hex(4)
        job = Job(sql, int(long[1]) if long else 0, int(configuration.get("jobTimeoutMs", 10**9)))
        if configuration.get("dryRun"):
            job.reason = "dry"
        else:
            self.server.jobs[name] = job
        self._answer(self._job(name, job))

    def _job(self, name: str, job: Job) -> dict[str, Any]:
        result = {"projectId": PROJECT, "datasetId": "_results", "tableId": name}
        failed = job.ended in ("timeout", "stopped")
        problem = {"errorResult": {"reason": job.ended, "message": "Job ended."}} if failed else {}
        return {
            "kind": "bigquery#job",
            "id": f"{PROJECT}:US.{name}",
            "jobReference": {"projectId": PROJECT, "jobId": name, "location": "US"},
            "configuration": {"jobType": "QUERY", "query": {"query": job.sql, "destinationTable": result}},
            "status": {"state": "DONE" if job.rows or job.ended else "RUNNING", **problem},
            "statistics": {"query": {"statementType": "SELECT", "totalBytesProcessed": "4096"}},
        }

    def _rows(self, name: str, job: Job, given: dict[str, str]) -> None:
        reference = {"projectId": PROJECT, "jobId": name, "location": "US"}
        if not job.rows:
            until = time.monotonic() + int(given.get("timeoutMs", _POLL_MS)) / 1000
            while not job.ended and time.monotonic() < until:
                time.sleep(0.02)
            self._answer({"jobComplete": False, "jobReference": reference})
            return
        start = int(given.get("pageToken", "0"))
        end = min(start + int(given.get("maxResults", "5000")), job.rows)
        pages = {"pageToken": str(end)} if end < job.rows else {}
        if not pages:
            job.reason = "read"
        pad = "x" * int((_PAD.findall(job.sql) or ["200"])[0])
        rows = [{"f": [{"v": str(n)}, {"v": pad}]} for n in range(start + 1, end + 1)]
        self._answer(
            {
                "jobComplete": True,
                "jobReference": reference,
                "schema": {"fields": _COLUMNS},
                "totalRows": str(job.rows),
                "rows": rows,
                **pages,
            }
        )

    def _pass(self, body: bytes) -> None:
        connection = HTTPConnection("127.0.0.1", self.server.emulator.port, timeout=60)
        connection.request(self.command, self.path, body, _JSON)
        response = connection.getresponse()
        self._send(response.read(), response.status)
        connection.close()

    def _answer(self, document: dict[str, Any], status: int = 200) -> None:
        self._send(json.dumps(document).encode(), status)

    def _send(self, body: bytes, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture(scope="session")
def bigquery_emulator() -> Iterator[BigQueryEmulator]:
    """The emulator, as long as the test session lives."""
    with private("bigquery", BigQueryEmulator) as emulator:
        yield emulator


@pytest.fixture
def bigquery_front(bigquery_emulator: BigQueryEmulator) -> Iterator[BigQueryFront]:
    """A front with a dataset of its own for one test."""
    front = BigQueryFront(bigquery_emulator)
    place = {"datasetReference": {"projectId": PROJECT, "datasetId": front.dataset}}
    ask(bigquery_emulator.port, "POST", f"/bigquery/v2/projects/{PROJECT}/datasets", place)
    threading.Thread(target=front.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    with ExitStack() as ending:
        ending.callback(front.kill)
        yield front
