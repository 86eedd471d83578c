"""What an operator does in Dagster's UI: launch, backfill, retry, look at files and ticks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import expect

from reporthub_dagster_tests.browser.dagster_ui import DagsterUI
from reporthub_dagster_tests.go_api import GoApi
from reporthub_dagster_tests.servers.dagster import MOST_RUNS_OF_A_SOURCE, DagsterServer
from reporthub_dagster_tests.servers.process import wait_until

LAUNCHPAD = "/locations/reporthub/jobs/execute_report/playground"
CONFIG = """ops:
  compute_time_range:
    config:
      {said}
"""
FLIGHTS, DELAYS = "1-flights-from-jfk", "2-delays-per-carrier-and-month"
DAYS, BAD_DAY = "[2013-01-01...2013-01-05]", "2013-01-03"
KEYS = """{ assetNodeOrError(assetKey: {path: ["report_file"]}) {
  ... on AssetNode { partitionKeysByDimension { partitionKeys } } } }"""
TIMES = """query ($backfill: String!) {
  runsOrError(filter: {tags: [{key: "dagster/backfill", value: $backfill}]}) { ... on Runs { results {
  stats { ... on RunStatsSnapshot { launchTime endTime } } } } } }"""
MONTHS = "GROUP BY month"
OVERFLOWS = f"AND CASE '{{{{start_date}}}}' WHEN '{BAD_DAY}' THEN abs(-9223372036854775808) ELSE 1 END "


@pytest.fixture(scope="module")
def backfill(ui: DagsterUI, hub: GoApi, server: DagsterServer) -> str:
    """A backfill of two reports for five days, done; one day of one of them failed. Its id."""
    replace = "UPDATE report_configs SET report_query = replace(report_query, :old, :new) WHERE id = 2"
    hub.execute(replace, old=MONTHS, new=OVERFLOWS + MONTHS)
    wait_until(lambda: FLIGHTS in str(server.ask(KEYS)), "the sensor of the partitions")
    backfill_id = ui.backfill([FLIGHTS, DELAYS], DAYS)
    ui.open(f"/runs/b/{backfill_id}")
    expect(ui.text("100% completed")).to_be_visible(timeout=120_000)
    expect(ui.text("Failed")).to_be_visible()
    hub.execute(replace, old=OVERFLOWS, new="")
    return backfill_id


def test_a_bad_config_is_refused_with_the_field_named(ui: DagsterUI) -> None:
    ui.open(LAUNCHPAD)
    ui.write_config(CONFIG.format(said="config: 2"))
    expect(ui.text('Received unexpected config entry "config"')).to_be_visible()
    ui.write_config(CONFIG.format(said="config_id: two"))
    expect(ui.text("root:ops:compute_time_range:config:config_id")).to_be_visible()
    expect(ui.button("Launch Run")).to_be_disabled()
    ui.keep("launchpad-bad-config")


def test_a_launched_report_shows_its_rows_and_who_got_it(ui: DagsterUI, hub: GoApi) -> None:
    ui.open(f"/assets/reports/{DELAYS}")
    ui.text("Open it in the Launchpad").click()
    expect(ui.page.locator(".CodeMirror").first).to_contain_text("config_id: 2")
    ui.keep("launchpad")
    ui.write_config(CONFIG.format(said="config_id: 2\n      start: '2013-01-01'\n      end: '2013-03-01'"))
    run_id = ui.launch()
    ui.wait_for_status("Success")
    ui.keep("run")
    ui.filter_events("preview")
    ui.button("View full message").click()
    dialog = ui.page.get_by_role("dialog")
    expect(dialog.get_by_text("AirTran Airways Corporation").first).to_be_visible()
    ui.keep("run-preview")
    ui.button("Done").click()
    ui.filter_events("receipts")
    for recipient in ("ana.planning@example.com", "budi.planning@example.com"):
        expect(ui.text(recipient)).to_be_visible()
    ui.keep("run-receipts")
    assert hub.row("SELECT status FROM report_executions WHERE id = :id", id=run_id)["status"] == "completed"


def test_two_reports_for_five_days_are_made_and_the_one_that_failed_is_tried_again(
    ui: DagsterUI, hub: GoApi, backfill: str
) -> None:
    ui.open(f"/runs/b/{backfill}")
    expect(ui.text("100% completed")).to_be_visible()
    ui.keep("backfill-done")
    ui.open_partition(DELAYS, BAD_DAY)
    expect(ui.text("failed, and did not materialize this asset")).to_be_visible()
    ui.keep("partition-failed")
    ui.page.locator("a[href*='/runs/']").first.click()
    expect(ui.text("report_configs 2, column report_query: the database refused")).to_be_visible()
    shown = ui.page.locator("body").inner_text()
    assert shown.index("the database refused the query: integer overflow") < shown.index("Stack Trace:")
    ui.keep("run-failed")
    ui.retry_from_failure()
    ui.wait_for_status("Success")
    ui.open_partition(DELAYS, BAD_DAY)
    expect(ui.text("Failed (0)")).to_be_visible()
    expect(ui.text("Materialized (10)")).to_be_visible()
    expect(ui.text("delays_2013-01-03.xlsx")).to_be_visible()
    ui.keep("partition-retried")
    counts = (
        "SELECT status, COUNT(*) AS n FROM report_executions WHERE executed_by = 'backfill' GROUP BY status"
    )
    assert hub.rows(counts) == [{"status": "completed", "n": 10}]
    assert hub.row(
        "SELECT COUNT(*) AS n FROM reporthub_deliveries WHERE execution_id IN "
        "(SELECT id FROM report_executions WHERE executed_by = 'backfill')"
    ) == {"n": 0}


def test_a_backfill_asks_a_data_source_for_no_more_reports_at_a_time_than_allowed(
    server: DagsterServer, backfill: str
) -> None:
    times = [run["stats"] for run in server.ask(TIMES, {"backfill": backfill})["results"]]
    held = [
        [run for run in times if run["launchTime"] <= one["launchTime"] < run["endTime"]] for one in times
    ]
    assert len(times) == 10
    assert 1 < max(map(len, held)) <= MOST_RUNS_OF_A_SOURCE


@pytest.mark.parametrize("asset", ["report_file", f"reports/{FLIGHTS}"], ids=["dates", "report"])
def test_the_page_of_an_asset_plots_the_rows_of_its_files(ui: DagsterUI, backfill: str, asset: str) -> None:
    ui.open(f"/assets/{asset}")
    ui.text("Plots").click()
    if asset == "report_file":
        ui.page.get_by_text("Events", exact=True).last.click()
    plot = ui.text("dagster/row_count")
    expect(plot).to_be_visible()
    expect(ui.page.locator("canvas").first).to_be_visible()
    plot.scroll_into_view_if_needed()
    ui.keep(f"plots-{asset.partition('/')[0]}")


def test_the_page_of_a_sensor_shows_what_its_ticks_decided(ui: DagsterUI, hub: GoApi) -> None:
    hub.insert("report_schedules", id=7, config_id=3, cron_expression="0 8 * * *", timezone="Asia/Jakarta")
    known = "SELECT schedule_id FROM reporthub_schedules"
    wait_until(lambda: bool(hub.rows(known)), "the sensor's first look at the schedule", 60)
    # As if no scheduler had lived for three days.
    down = datetime.now(UTC).replace(tzinfo=None) - timedelta(days=3)
    hub.execute("UPDATE reporthub_schedules SET decided_through = :down, due_at = :down", down=down)
    ui.open("/locations/reporthub/sensors/report_schedule_sensor")
    expect(ui.text("become runs")).to_be_visible()
    expect(ui.text("1 run requested")).to_be_visible()
    expect(ui.text("1 of 1 schedules due; 1 run asked for")).to_be_visible()
    asked = ui.page.locator("a[href*='/runs/']").first
    expect(asked).to_be_visible()
    expect(ui.text("0 of 1 schedules due; 0 runs asked for")).to_be_visible()
    ui.keep("sensor")
    ui.open(str(asked.get_attribute("href")))
    ui.wait_for_status("Success")
    expect(ui.text("RUN_SUCCESS")).to_be_visible()
    ui.keep("run-of-schedule")
    row = hub.row("SELECT status FROM report_executions WHERE schedule_id = 7")
    assert row["status"] == "completed"
