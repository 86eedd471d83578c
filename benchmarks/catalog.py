"""1,000 reports by 400 days in Dagster: loading them, the page of their dates, a backfill of 2,000 of them.

`python -m benchmarks.catalog` starts a code server, a webserver and Chromium on an instance of its own, with
a materialization of each report. Printed are the CPU seconds of a process that loads the definitions and
describes them for the webserver; of all GraphQL queries that the UI sends for the asset's partitions, the
slowest, and the seconds until the page is whole; and the seconds until a backfill of 5 reports and 400 days
is created. Rival: an asset with daily partitions for each report, made in a loop; it reads no database.
Fails when ours needs more than 3 s for the load or a query, or 30 s for the backfill.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._core.remote_representation.external_data import RepositorySnap

from benchmarks.catalog_rival import DAYS, REPORTS
from benchmarks.measure import measured, report

MODULE = "benchmarks.catalog"
RIVAL, OURS = "benchmarks.catalog_rival", "reporthub_dagster.definitions"
BACKFILLED = 5
MOST_SECONDS = 3.0
INSTANCE = "telemetry: {enabled: false}\nnux: {enabled: false}\n"
FILL = f"""
INSERT INTO report_configs
  (id, report_name, report_query, output_format, datasource_id, timeout_seconds, max_rows, is_active)
WITH RECURSIVE seq (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM seq WHERE n < {REPORTS})
SELECT n, 'Report ' || n, 'SELECT ' || n || ' AS one', 'csv', 1, 60, 1000, 1 FROM seq"""
BACKFILL = """mutation ($backfill: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $backfill) {
  __typename ... on LaunchBackfillSuccess { backfillId } ... on Error { message } } }"""


@dataclass(frozen=True)
class Figures:
    """What one contender needed, in seconds."""

    load: float
    query: float
    page: float
    backfill: float


def main() -> int:
    """Measure and print; returns 1 when the goal is missed."""
    home = Path(tempfile.mkdtemp(prefix="reporthub-bench-"))
    os.environ["REPORTHUB_HOME"] = str(home)
    try:
        _fill(home)
        found = {"rival": _measure(home / "rival", RIVAL), "ours": _measure(home / "ours", OURS)}
    finally:
        shutil.rmtree(home, ignore_errors=True)
    print(f"{REPORTS:,} reports by {DAYS} days, seconds")
    for what, name in (
        ("load", "definitions load (CPU)"),
        ("query", "slowest query of the page"),
        ("page", "the page is whole"),
        ("backfill", f"{BACKFILLED * DAYS:,} partitions backfilled: created"),
    ):
        rival, ours = getattr(found["rival"], what), getattr(found["ours"], what)
        print(f"  {name:<42} an asset a report {rival:6.2f}   ours {ours:6.2f}")
    ours = found["ours"]
    return int(max(ours.load, ours.query) > MOST_SECONDS)


def load(module: str) -> None:
    """What a code server does when it starts: load the definitions, describe them for the webserver."""
    repository = ReconstructableRepository.for_module(module, "defs").get_definition()
    RepositorySnap.from_def(repository)


def _fill(home: Path) -> None:
    from reporthub_dagster_tests.go_api import GoApi  # noqa: PLC0415 - after the environment is set
    from reporthub_dagster_tests.installation import create_tables  # noqa: PLC0415

    create_tables()
    go = GoApi(f"sqlite:///{home / 'reporthub.db'}")
    go.insert("report_datasources", id=1, name="s", connection_url="sqlite:///x", db_type="sqlite")
    go.execute(FILL)
    go.close()


def _measure(home: Path, module: str) -> Figures:
    from reporthub_dagster_tests.servers.dagster import DagsterServer  # noqa: PLC0415

    home.mkdir()
    (home / "dagster.yaml").write_text(INSTANCE, encoding="utf-8")
    is_ours = module == OURS
    keys = [f"{number}-report-{number}" for number in range(1, REPORTS + 1)]
    asset, others = _assets(keys, is_ours=is_ours)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        days = _days(is_ours=is_ours)
        if is_ours:
            instance.add_dynamic_partitions("reporthub_configs", keys)
        for key in keys:
            partition = dg.MultiPartitionKey({"config": key, "date": days[0]}) if is_ours else days[0]
            made = asset if is_ours else ["reports", key]
            instance.report_runless_asset_event(dg.AssetMaterialization(made, partition=partition))
    partitions = [f"{key}|{day}" for key in keys[:BACKFILLED] for day in days] if is_ours else days
    used = measured(MODULE, "load", module).cpu
    with DagsterServer(home, definitions=module).running() as server:
        query, page = _look(f"{server.url}/assets/{'/'.join(asset)}?view=partitions")
        asked = {"assetSelection": [{"path": path} for path in others], "partitionNames": partitions}
        started = time.monotonic()
        answer = server.ask(BACKFILL, {"backfill": asked})
        backfill = time.monotonic() - started
    if answer["__typename"] != "LaunchBackfillSuccess":
        raise SystemExit(f"no backfill: {answer}")
    return Figures(used, query, page, backfill)


def _assets(keys: Sequence[str], *, is_ours: bool) -> tuple[list[str], list[list[str]]]:
    """The asset to look at, and those to backfill."""
    paths = [["report_file"]] if is_ours else [["reports", key] for key in keys[:BACKFILLED]]
    return paths[0], paths


def _days(*, is_ours: bool) -> list[str]:
    if not is_ours:
        from benchmarks.catalog_rival import asset_of  # noqa: PLC0415

        partitions: Any = asset_of(1).partitions_def
        return list(partitions.get_partition_keys())
    from reporthub_dagster.partitions import report_partitions  # noqa: PLC0415 - reads the environment

    days = report_partitions().get_partitions_def_for_dimension("date").get_partition_keys()
    return list(days)[-DAYS:]


def _look(address: str) -> tuple[float, float]:
    """The slowest query of a page of the UI, and when the page was whole."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - not a part of what is measured

    from reporthub_dagster_tests.servers.process import binary  # noqa: PLC0415

    seconds: list[float] = []

    def note(request: Any) -> None:
        if request.url.endswith("/graphql") or "/graphql?" in request.url:
            seconds.append(request.timing["responseEnd"] / 1000)

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=binary("chromium"), args=["--disable-gpu"])
        page = browser.new_page()
        page.on("requestfinished", note)
        started = time.monotonic()
        page.goto(address)
        page.get_by_text("Missing (").wait_for()
        whole = time.monotonic() - started
        page.wait_for_load_state("networkidle")
        browser.close()
    return max(seconds), whole


if __name__ == "__main__":
    if sys.argv[1:2] == ["load"]:
        report(lambda: load(sys.argv[2]))
    else:
        sys.exit(main())
