"""The rival of `benchmarks.catalog`: an asset with daily partitions for each report, made in a loop."""

from __future__ import annotations

import dagster as dg

REPORTS, FIRST_DAY, DAYS = 1_000, "2025-01-01", 400


def asset_of(number: int) -> dg.AssetsDefinition:
    """A report as an asset of its own."""

    @dg.asset(
        key=["reports", f"{number}-report-{number}"],
        partitions_def=dg.DailyPartitionsDefinition(FIRST_DAY, end_date="2026-02-05"),
    )
    def file() -> None:
        """Make the file of one day."""

    return file


@dg.definitions
def defs() -> dg.Definitions:
    """All of them, when a code server asks and not when this module is imported."""
    return dg.Definitions(assets=[asset_of(number) for number in range(1, REPORTS + 1)])
