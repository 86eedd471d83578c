"""200 reports by mail, whose server is gone or silent, among 200 to a folder: when each batch is done.

`python -m benchmarks.deliveries [REPORTS]` starts a private MariaDB and runs both batches in turn, each
report from query to delivery, ten at a time (`MAX_CONCURRENT_EXECUTIONS`); Dagster has no part in it. For
comparison the folder's batch runs alone, and beside as many reports to another folder: twice the work,
with nothing down. Rival: a pool of as many threads that query, write and send, and share no knowledge.
The time-out of both is 11 s instead of 30. Wall seconds, since waiting is what is measured.

Fails when a server that is down delays the folder's batch by more than what its first ten reports may wait,
a pause of 2 s or one time-out, apart from half of what the batch beside another folder takes (the machine is
noisy); or when more than ten reports tried a silent server.
"""

from __future__ import annotations

import csv
import shutil
import smtplib
import socket
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from zoneinfo import ZoneInfo

from reporthub_dagster.db.circuits import Circuits
from reporthub_dagster.db.deliveries import DeliveryLedger
from reporthub_dagster.db.delivery_logs import DeliveryLogs
from reporthub_dagster.db.executions import Executions
from reporthub_dagster.db.repository import Repository
from reporthub_dagster.db.session import Hub
from reporthub_dagster.delivering import HICCUP_SECONDS, Deliverer
from reporthub_dagster.delivery_task import DeliveryTask
from reporthub_dagster.destinations.environment import DestinationSettings, SmtpServer
from reporthub_dagster.planning import ReportRequest, plan_report
from reporthub_dagster.producing import read_rows
from reporthub_dagster.rendering import write_files
from reporthub_dagster.reporting.breaker_policy import BreakerPolicy
from reporthub_dagster.storage.execution_folder import ExecutionFolder
from reporthub_dagster_tests.go_api import GoApi
from reporthub_dagster_tests.servers.mariadb import MariaDBServer
from reporthub_dagster_tests.servers.process import free_port

REPORTS = 200
AT_ONCE = 10
TIMEOUT_SECONDS = 11.0
"""Longer than what counts as a hiccup, as 30 s are."""
MAIL, FOLDER, OTHER = 1, 2, 3
QUERY = "SELECT id, name FROM t ORDER BY id"
Work = Callable[[int, str], None]
Reports = list[tuple[int, str]]


def main(count: int) -> int:
    """Measure and print; returns 1 when the goal is missed."""
    home = Path(tempfile.mkdtemp(prefix="reporthub-bench-"))
    server = MariaDBServer(home, free_port())
    try:
        server.create()
        server.execute("CREATE DATABASE hub")
        _fill_source(home)
        url = server.url("hub")
        print(f"{count} reports by mail, {count} to a folder; wall seconds until the last of each is settled")
        with _ours(home, url, 1) as work:
            alone = _timed(work, _reports(count, "alone", FOLDER))
            beside = _timed(work, _reports(count, "beside", FOLDER, OTHER))
        print(f"  folder alone {alone[FOLDER]:.1f}, beside another folder {beside[FOLDER]:.1f}", flush=True)
        missed = [_compared(home, url, word, count, beside[FOLDER]) for word in ("gone", "silent")]
    finally:
        server.stop()
        shutil.rmtree(home, ignore_errors=True)
    return int(any(missed))


def _compared(home: Path, hub_url: str, word: str, count: int, beside: float) -> bool:
    with socket.create_server(("127.0.0.1", 0), backlog=4 * count) as silent:
        port = silent.getsockname()[1] if word == "silent" else 1
        with _ours(home, hub_url, port) as work:
            ours = _timed(work, _reports(count, word, MAIL, FOLDER))
        tried = _callers(silent)
        rival = _timed(_rival(home, port), _reports(count, f"pool-{word}", MAIL, FOLDER))
    seen = f", tried by {tried}" if word == "silent" else ""
    print(f"  mail server {word}: ours folder {ours[FOLDER]:.1f}, mail {ours[MAIL]:.1f}{seen};", end=" ")
    print(f"plain pool folder {rival[FOLDER]:.1f}, mail {rival[MAIL]:.1f}", flush=True)
    wait = TIMEOUT_SECONDS if word == "silent" else HICCUP_SECONDS
    return ours[FOLDER] > 1.5 * beside + wait or tried > AT_ONCE


def _reports(count: int, word: str, *configs: int) -> Reports:
    """Of each of these reports so many executions, in turn."""
    return [(config, f"{word}-{config}-{number}") for number in range(count) for config in configs]


def _callers(server: socket.socket) -> int:
    """How many connections wait to be accepted."""
    found = 0
    server.settimeout(0)
    with suppress(BlockingIOError):
        while True:
            server.accept()[0].close()
            found += 1
    return found


def _timed(work: Work, reports: Reports) -> dict[int, float]:
    """Seconds until the last report of each batch was settled."""
    ended: dict[int, float] = {}
    started = time.monotonic()

    def one(report: tuple[int, str]) -> None:
        work(*report)
        ended[report[0]] = time.monotonic() - started

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(one, reports))
    return ended


@contextmanager
def _ours(home: Path, hub_url: str, smtp_port: int) -> Iterator[Work]:
    """Claim, plan, query, file, ledger, delivery, outcome: all that a run does, without the run."""
    hub = Hub(hub_url, ZoneInfo("UTC"))
    if hub.create_missing_tables():
        _insert_rows(hub_url, home)
    repository, executions, ledger = Repository(hub), Executions(hub), DeliveryLedger(hub)
    circuits, logs = Circuits(hub, BreakerPolicy()), DeliveryLogs(hub)
    smtp = SmtpServer("127.0.0.1", smtp_port, from_email="reports@hub.test", use_tls=False)
    settings = DestinationSettings(smtp, TIMEOUT_SECONDS)

    def work(config_id: int, execution_id: str) -> None:
        now = datetime.now(UTC)
        executions.add(execution_id, config_id=config_id, schedule_id=None, executed_by="x", at=now)
        claim = executions.claim(execution_id, execution_id, after=None, from_status="running", at=now)
        assert claim is not None
        request = ReportRequest(config_id)
        plan = plan_report(repository, request, execution_id=execution_id, now=now, default_timezone="UTC")
        folder = ExecutionFolder(home / "output" / execution_id)
        rows = read_rows(plan, repository, folder, lambda _: None)
        files = write_files(plan, rows.results, folder)
        files = tuple(replace(file, name=f"{execution_id}.csv") for file in files)
        deliverer = Deliverer(
            repository=repository,
            ledger=ledger,
            circuits=circuits,
            logs=logs,
            claim=claim,
            plan=plan,
            files=files,
            settings=settings,
            excerpt=None,
            say=lambda _: None,
        )
        outcome = deliverer.deliver(DeliveryTask(config_id))
        if outcome.waiting:
            executions.wait(claim)
        else:
            executions.finish(claim, "completed", at=datetime.now(UTC))

    try:
        yield work
    finally:
        hub.close()


def _rival(home: Path, smtp_port: int) -> Work:
    """Query, file, send or copy, and no word of it anywhere."""

    def work(config_id: int, name: str) -> None:
        path = home / f"{name}.csv"
        with closing(sqlite3.connect(home / "source.db")) as source, path.open("w", newline="") as out:
            csv.writer(out).writerows(source.execute(QUERY))
        if config_id == FOLDER:
            shutil.copy(path, home / "share" / path.name)
            return
        message = EmailMessage()
        message["To"], message["From"], message["Subject"] = "ana@x.test", "reports@hub.test", name
        message.add_attachment(path.read_bytes(), maintype="text", subtype="csv", filename=path.name)
        try:
            with smtplib.SMTP("127.0.0.1", smtp_port, timeout=TIMEOUT_SECONDS) as mail:
                mail.send_message(message)
        except OSError:
            return

    return work


def _fill_source(home: Path) -> None:
    for name in ("share", "other"):
        (home / name).mkdir()
    with closing(sqlite3.connect(home / "source.db")) as source:
        source.execute("CREATE TABLE t (id INTEGER, name TEXT)")
        source.executemany("INSERT INTO t VALUES (?, ?)", [(n, f"name {n}") for n in range(100)])
        source.commit()


def _insert_rows(hub_url: str, home: Path) -> None:
    go = GoApi(hub_url)
    url = f"sqlite:///{home / 'source.db'}"
    go.insert("report_datasources", id=1, name="s", connection_url=url, db_type="sqlite")
    methods = {
        MAIL: ("email", {}),
        FOLDER: ("file_share", {"path": str(home / "share")}),
        OTHER: ("file_share", {"path": str(home / "other")}),
    }
    for row, (method, options) in methods.items():
        about = {"report_query": QUERY, "datasource_id": 1}
        go.insert("report_configs", id=row, report_name=f"{method} {row}", **about)
        delivery = {"delivery_name": method, "method": method, "delivery_config": options}
        go.insert("report_deliveries", id=row, config_id=row, **delivery)
    go.insert("report_delivery_recipients", id=1, delivery_id=MAIL, recipient_value="ana@x.test")
    go.close()


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else REPORTS))
