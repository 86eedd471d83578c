"""Dagster's catalog: the active reports as assets, what their runs say of them."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest

from reporthub_dagster.definitions import defs
from reporthub_dagster.reporting.report_checks import CHECKS
from reporthub_dagster_tests.installation import YESTERDAY, World

SALES = dg.AssetKey(["reports", "1-sales"])
on_sqlite = pytest.mark.parametrize("world", ["sqlite"], indirect=True)


def checks(world: World, key: dg.AssetKey = SALES) -> dict[str, tuple[bool, str]]:
    """What the catalog shows of a report's checks: whether each passed, and why."""
    keys = [dg.AssetCheckKey(key, name) for name in CHECKS]
    found = world.instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    evaluations: list[Any] = [record.evaluation for record in found.values()]
    return {one.check_name: (one.passed, one.description) for one in evaluations}


def materializations(world: World, key: dg.AssetKey = SALES) -> list[Any]:
    """What the catalog shows of a report's files, the newest first."""
    return [record.asset_materialization for record in world.instance.fetch_materializations(key, 10).records]


def spec_of(key: dg.AssetKey) -> dg.AssetSpec:
    """What the code location says of an asset when it is loaded now."""
    return next(spec for spec in defs().resolve_all_asset_specs() if spec.key == key)


def test_the_files_of_a_report_are_in_the_catalog(world: World) -> None:
    result = world.run(config_id=1, start=f"{YESTERDAY:%Y-%m-%d}")
    (made,) = materializations(world)
    assert made.partition == f"{YESTERDAY:%Y-%m-%d}"
    told = {name: made.metadata[name].value for name in ("dagster/row_count", "size_bytes", "execution")}
    row = world.execution(result.run_id)
    assert told == {"dagster/row_count": 4, "size_bytes": row["file_size_bytes"], "execution": result.run_id}
    seconds = [made.metadata[name].value for name in ("query_seconds", "seconds")]
    assert 0 <= seconds[0] < seconds[1] < 600
    assert checks(world) == {
        "not_empty": (True, "4 rows"),
        "row_count_in_range": (True, "4 rows; too few executions to compare with"),
        "delivered": (True, "everybody has it"),
        "on_time": (True, "not of a slot"),
    }


@on_sqlite
def test_a_delivery_that_is_made_up_for_passes_its_check(world: World) -> None:
    world.share.rename(world.home / "away")
    first = world.run(config_id=1)
    assert checks(world)["delivered"][0] is False
    (world.home / "away").rename(world.share)
    world.retry_from_failure(first.run_id)
    assert checks(world)["delivered"] == (True, "everybody has it")
    assert len(materializations(world)) == 1


@on_sqlite
def test_a_run_that_fails_before_its_file_fails_the_checks(world: World) -> None:
    world.run(config_id=1)
    world.drop_source()
    world.run(config_id=1)
    passed, words = checks(world)["delivered"]
    assert (passed, "failed: report_configs 1, column report_query" in words) == (False, True)
    assert len(materializations(world)) == 1


@on_sqlite
def test_a_report_keeps_its_asset_when_it_gets_another_name(world: World) -> None:
    world.run(config_id=1, deliver="none")
    world.go.execute("UPDATE report_configs SET report_name = 'Turnover'")
    world.run(config_id=1, deliver="none")
    assert len(materializations(world)) == 2
    assert str(spec_of(SALES).description).startswith("Turnover: csv from sales")


@on_sqlite
def test_the_definitions_describe_the_active_reports(world: World) -> None:
    go = world.go
    go.execute("UPDATE report_configs SET created_by = 'ana@finance.test'")
    go.insert("report_configs", id=7, report_name="Täglich 日本", report_query="SELECT 7", datasource_id=1)
    go.insert(
        "report_configs", id=8, report_name="Broken", report_query="SELECT 8", datasource_id=1, max_rows=0
    )
    go.insert(
        "report_configs", id=9, report_name="Old", report_query="SELECT 9", datasource_id=1, is_active=False
    )
    loaded = {spec.key.path[-1]: spec for spec in defs().resolve_all_asset_specs()}
    assert set(loaded) == {"report_file", "1-sales", "7-täglich-日本"}
    sales = loaded["1-sales"]
    assert (sales.owners, sales.group_name, sales.kinds) == (["ana@finance.test"], "sales", {"sqlite", "csv"})
    assert "SELECT t.trx_id" in sales.metadata["sql"].value
    assert "Goes to Finance (email), Folder (file_share)." in str(sales.description)
    assert {key.name for key in defs().resolve_asset_graph().get_check_keys_for_assets({SALES})} == set(
        CHECKS
    )


@on_sqlite
def test_a_check_can_be_evaluated_anew(world: World) -> None:
    result = world.run(config_id=1, deliver="none")
    world.go.execute("UPDATE report_executions SET rows_returned = 0")
    repository = defs().get_repository_def()
    key = dg.AssetCheckKey(SALES, "not_empty")
    job = repository.get_maybe_subset_job_def("__ASSET_JOB", asset_check_selection={key})
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    assert job.execute_in_process(quiet, instance=world.instance).success
    assert checks(world)["not_empty"] == (False, "0 rows")
    assert result.success


@pytest.mark.parametrize(
    "url", ["sqlite:////nowhere/at/all.db", "mysql://u:canary-7731@127.0.0.1:1/x", "nonsense"]
)
def test_a_hub_that_is_not_there_breaks_no_code_location(
    url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("REPORTHUB_DATABASE_URL", url)
    assert [spec.key.path[-1] for spec in defs().resolve_all_asset_specs()] == ["report_file"]
    assert "canary-7731" not in caplog.text
