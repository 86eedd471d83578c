"""The demo as `make dev` serves it, with a warm worker, and a browser that looks at it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect, sync_playwright

from demo.mail_sink import environment, mail_sink
from demo.setup import forget_environment, offer_days_of_flights, prepare
from reporthub_dagster.settings import Settings
from reporthub_dagster_tests.browser.dagster_ui import DagsterUI
from reporthub_dagster_tests.go_api import GoApi
from reporthub_dagster_tests.servers.dagster import INSTANCE, QUEUED, DagsterServer
from reporthub_dagster_tests.servers.process import binary

PATIENCE_MS = 30_000
OPTIONS = (
    "--disable-gpu",
    "--disable-quic",
    "--disable-component-update",
    "--disable-sync",
    # The UI asks dagster.io for news.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)


@pytest.fixture(scope="module")
def server(redis_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DagsterServer]:
    """Webserver, code server, daemon and worker over the demo's reports."""
    home = tmp_path_factory.mktemp("demo")
    with mail_sink(home / "mail") as smtp, environment({}):
        forget_environment()
        os.environ.update({"REPORTHUB_HOME": str(home), **smtp})
        (home / "dagster").mkdir()
        (home / "dagster" / "dagster.yaml").write_text(INSTANCE + QUEUED, encoding="utf-8")
        prepare()
        offer_days_of_flights(Settings.load())
        with DagsterServer(home / "dagster", redis_database_url).running() as server:
            server.start_daemon()
            server.start_worker(1)
            yield server


@pytest.fixture(scope="module")
def hub(server: DagsterServer) -> Iterator[GoApi]:
    """The Go API's client of the demo's database."""
    go = GoApi(f"sqlite:///{server.home.parent / 'reporthub.db'}")
    yield go
    go.close()


@pytest.fixture(scope="module")
def ui(server: DagsterServer, request: pytest.FixtureRequest) -> Iterator[DagsterUI]:
    """Dagster's UI in a browser; screenshots go to `--screenshots`."""
    chromium = binary("chromium", "chromium-browser")
    folder = request.config.getoption("screenshots").absolute()
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=OPTIONS)
        page = browser.new_page(viewport={"width": 1400, "height": 1000}, timezone_id="UTC")
        page.set_default_timeout(PATIENCE_MS)
        yield DagsterUI(server.url, page, folder)
        browser.close()


@pytest.fixture(autouse=True)
def _what_a_failure_looks_like(
    ui: DagsterUI, server: DagsterServer, request: pytest.FixtureRequest
) -> Iterator[None]:
    failed = request.session.testsfailed
    yield
    if request.session.testsfailed > failed:
        ui.keep(f"failed-{request.node.name}")
        sys.stdout.write(server.logs())
