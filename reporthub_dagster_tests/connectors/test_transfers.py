"""Transfers of files and APIs that break off, never end, crawl or are cancelled; S3 by a stand-in.

A limit of 2 MB stands for `REPORTHUB_FETCH_LIMIT_MB`, and a second for the time of a report: the mechanism is
the same at any size.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Literal

import pytest

from reporthub_dagster.connectors.registry import CONNECTORS
from reporthub_dagster.connectors.source_settings import SourceSettings
from reporthub_dagster.connectors.tabular import Budget
from reporthub_dagster.network.egress import EgressPolicy
from reporthub_dagster.reporting.bound_query import BoundQuery
from reporthub_dagster.reporting.errors import PermanentError, TransientError
from reporthub_dagster.reporting.records import DataSource
from reporthub_dagster_tests.connectors.reading import LIMITS
from reporthub_dagster_tests.servers.process import wait_until
from reporthub_dagster_tests.servers.sftp import SftpServer
from reporthub_dagster_tests.servers.web import WebServer

Fault = Literal["cut", "endless", "crawling"]
SETTINGS = SourceSettings(egress=EgressPolicy.parse("default", "127.0.0.1"), fetch_bytes=2_000_000)
_LIST = "<ListBucketResult><Contents><Key>x.csv</Key></Contents></ListBucketResult>"
_LENGTH = 10**12


class Broken(WebServer):
    """Answers with a body that has a fault, whatever is asked for; a bucket's list is whole."""

    def __init__(self, fault: Fault) -> None:
        super().__init__()
        self.fault = fault
        self.sending = 0

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        listed = "list-type" in handler.path
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(_LIST) if listed else _LENGTH))
        handler.end_headers()
        handler.close_connection = not listed
        if listed:
            handler.wfile.write(_LIST.encode())
            return
        self.sending += 1
        with suppress(OSError):
            self._send(handler)
        self.sending -= 1

    def _send(self, handler: BaseHTTPRequestHandler) -> None:
        piece = b" " if self.fault == "crawling" else b" " * (1 << 16)
        while not self._stop.is_set():
            handler.wfile.write(piece)
            if self.fault == "cut":
                return
            if self.fault == "crawling":
                self._stop.wait(0.02)


@dataclass
class Place:
    """Somewhere a transfer with a fault comes from.

    Attributes:
        busy: True while something is being sent.
    """

    row: DataSource
    folder: Path
    busy: Callable[[], bool]

    def read(self, seconds: float = 60, settings: SourceSettings = SETTINGS) -> None:
        """Read it.

        Raises:
            ReportHubError: What became of it.
        """
        limits = replace(LIMITS, timeout_seconds=seconds)
        query = BoundQuery.of(["SELECT * FROM data"])
        CONNECTORS.get(self.row.kind)(self.row, settings).spool(query, self.folder / "x.arrow", limits)

    def is_over(self) -> None:
        """Nothing is left here, and nobody sends any more."""
        wait_until(lambda: not self.busy(), "the end of the transfer", seconds=10)
        assert os.listdir(self.folder) == []  # noqa: PTH208 - hidden files too


@pytest.fixture
def place(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str, Fault], Place]:
    folder = tmp_path / "out"
    folder.mkdir()

    def over_sftp(fault: Fault) -> Place:
        server: SftpServer = request.getfixturevalue("sftp_server")
        file = tmp_path / "x.csv"
        with file.open("wb") as empty:
            empty.truncate(_LENGTH)
        if fault == "cut":
            monkeypatch.setattr(Budget, "spend", lambda *_: server.cut())
        options: dict[str, Any] = {
            "private_key": server.client_key.export_private_key().decode(),
            "host_key": server.host_key.export_public_key().decode(),
        }
        url = f"sftp://{server.user}@127.0.0.1:{server.port}{file}"
        return Place(DataSource(7, "f", "file", url, options), folder, lambda: bool(server.children()))

    def make(where: str, fault: Fault) -> Place:
        if where == "file over SFTP":
            return over_sftp(fault)
        server = Broken(fault)
        running = server.running()
        running.__enter__()
        request.addfinalizer(lambda: running.__exit__(None, None, None))
        base = server.url.removesuffix("/hook")
        keys = {"endpoint_url": base, "access_key": "a", "secret_key": "b"}
        row = {
            "http_api": DataSource(7, "a", "http_api", server.url, {}),
            "file over HTTP": DataSource(7, "f", "file", f"{base}/x.csv", {}),
            "file over S3 (stand-in)": DataSource(7, "f", "file", "s3://b/x.csv", keys),
        }[where]
        return Place(row, folder, lambda: server.sending > 0)

    return make


everywhere = pytest.mark.parametrize(
    "where", ["http_api", "file over HTTP", "file over S3 (stand-in)", "file over SFTP"]
)


@everywhere
def test_a_transfer_that_breaks_off_may_be_tried_again(
    place: Callable[[str, Fault], Place], where: str
) -> None:
    made = place(where, "cut")

    with pytest.raises(TransientError, match="before everything was there"):
        made.read()

    made.is_over()


@everywhere
def test_a_transfer_without_end_ends_at_the_limit_of_bytes(
    place: Callable[[str, Fault], Place], where: str
) -> None:
    made = place(where, "endless")

    with pytest.raises(PermanentError, match=r"more than 2 MB; .* raise REPORTHUB_FETCH_LIMIT_MB"):
        made.read()

    made.is_over()


@everywhere
def test_a_transfer_that_takes_too_long_ends_at_the_time_limit_even_if_it_crawls(
    place: Callable[[str, Fault], Place], where: str
) -> None:
    made = place(where, "crawling")
    started = time.monotonic()

    with pytest.raises(PermanentError, match="longer than timeout_seconds = 1"):
        made.read(1, replace(SETTINGS, fetch_bytes=_LENGTH))

    assert time.monotonic() - started < 5
    made.is_over()


@everywhere
def test_a_report_that_is_cancelled_ends_its_transfer(
    place: Callable[[str, Fault], Place], where: str
) -> None:
    made = place(where, "crawling")

    def cancel() -> None:
        wait_until(made.busy, "the transfer")
        os.kill(os.getpid(), signal.SIGINT)

    canceller = threading.Thread(target=cancel)
    canceller.start()
    with pytest.raises(KeyboardInterrupt):
        made.read(60, replace(SETTINGS, fetch_bytes=_LENGTH))

    canceller.join()
    made.is_over()
