"""Dagster's UI as a person uses it: pages, the Launchpad, the dialog of backfills."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

RUN_URL = re.compile(r"/runs/([0-9a-f-]{36})$")


@dataclass
class DagsterUI:
    """A page of the UI.

    Attributes:
        url: Where the webserver is.
        screenshots: Folder that `keep` writes to.
    """

    url: str
    page: Page
    screenshots: Path

    def open(self, path: str) -> None:
        """Go to a page by its address."""
        self.page.goto(f"{self.url}{path}")

    def keep(self, name: str) -> None:
        """Keep what is on the screen."""
        self.page.screenshot(path=self.screenshots / f"{name}.png")

    def text(self, words: str | re.Pattern[str]) -> Locator:
        """The first visible place that has these words; the UI measures some with a hidden copy."""
        return self.page.get_by_text(words).filter(visible=True).first

    def button(self, name: str) -> Locator:
        """A button by what is written on it."""
        return self.page.get_by_role("button", name=name)

    def write_config(self, yaml: str) -> None:
        """Replace what the Launchpad's editor holds."""
        self.page.locator(".CodeMirror").first.click()
        self.page.keyboard.press("Control+A")
        self.page.keyboard.insert_text(yaml)

    def launch(self) -> str:
        """Launch what the Launchpad holds; returns the run's id."""
        self.button("Launch Run").click()
        self.page.wait_for_url(RUN_URL)
        return self.run_id()

    def run_id(self) -> str:
        """The id of the run that is shown."""
        found = RUN_URL.search(self.page.url)
        assert found, self.page.url
        return found[1]

    def wait_for_status(self, status: str) -> None:
        """Wait until the run that is shown has ended so."""
        expect(self.page.get_by_text(status, exact=True).first).to_be_visible()

    def filter_events(self, words: str) -> None:
        """Show only the events of a run that have these words."""
        self.page.get_by_placeholder("Filter…").fill(words)

    def backfill(self, reports: Iterable[str], dates: str) -> str:
        """Launch a backfill of `report_file` through its dialog; returns its id."""
        self.open("/assets/report_file")
        self.button("Materialize…").click()
        self.text("Select a partition or create one").click()
        for report in reports:
            self.page.get_by_role("menuitem", name=report).click()
        self.text("Launch runs to materialize").click()
        self.page.get_by_placeholder("ex: ").fill(dates)
        self.page.get_by_placeholder("ex: ").press("Enter")
        self.keep("backfill-dialog")
        self.button("Launch backfill").click()
        said = self.text(re.compile(r"Created backfill")).inner_text()
        return said.split()[2]

    def open_partition(self, report: str, date: str) -> None:
        """Show a partition on the asset's page."""
        self.open("/assets/report_file?view=partitions")
        # A long key is shown without its middle.
        for dimension, key, shown in (("config", report, report[:8]), ("date", date, date)):
            self.page.get_by_placeholder(f"Filter by {dimension}…").fill(key)
            self.text(shown).click()
        expect(self.text(f"{report}|{date}")).to_be_visible()

    def retry_from_failure(self) -> str:
        """Re-execute the run that is shown, of a backfill that is done, from where it failed; its new id."""
        before = self.page.url
        self.page.locator("button:has([aria-label='arrow_drop_down'])").last.click()
        self.page.get_by_role("menuitem", name="From failure").click()
        self.button("Confirm").click()
        self.page.wait_for_url(lambda url: url != before and bool(RUN_URL.search(url)))
        return self.run_id()
