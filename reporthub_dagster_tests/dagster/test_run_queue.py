"""The queue of the production instances: what a run is tagged with before it waits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.remote_origin import ManagedGrpcPythonEnvCodeLocationOrigin, RemoteRepositoryOrigin
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from reporthub_dagster.definitions import wiring
from reporthub_dagster.run_config import DATASOURCE_TAG, run_config_of
from reporthub_dagster_tests.installation import World

QUEUE = {"module": "reporthub_dagster.run_queue", "class": "ReportRunCoordinator"}
TARGET = LoadableTargetOrigin(module_name="reporthub_dagster.definitions", attribute="defs")
LOCATION = ManagedGrpcPythonEnvCodeLocationOrigin(TARGET, "reporthub")
pytestmark = pytest.mark.parametrize("world", ["sqlite"], indirect=True)


@pytest.fixture
def queue(world: World, tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """An instance with our queue; report 12 of data source 1, and an execution of it that waits."""
    copied = "report_query, output_format, datasource_id, max_rows, timeout_seconds, version, is_active"
    world.go.execute(
        f"INSERT INTO report_configs (id, report_name, {copied}) SELECT 12, 'Twelve', {copied} "
        "FROM report_configs WHERE id = 1"
    )
    world.go.execute("UPDATE report_datasources SET id = 7")
    world.go.execute("UPDATE report_configs SET datasource_id = 7 WHERE id = 12")
    world.go.insert("report_executions", id="asked-for", config_id=12, status="queued", executed_by="go")
    (tmp_path / "queue").mkdir()
    overrides = {"telemetry": {"enabled": False}, "run_coordinator": QUEUE}
    with dg.DagsterInstance.local_temp(str(tmp_path / "queue"), overrides=overrides) as instance:
        yield instance


def waiting(queue: dg.DagsterInstance, job: str = "execute_report", **launch: Any) -> str | None:
    """The data source that a launched run says it will ask, while it waits."""
    origin = RemoteRepositoryOrigin(LOCATION, "__repository__").get_job_origin(job)
    run = queue.create_run_for_job(wiring().resolve_job_def(job), remote_job_origin=origin, **launch)
    queue.run_coordinator.submit_run(dg.SubmitRunContext(run, workspace=None))  # type: ignore[arg-type]
    found = queue.get_run_by_id(run.run_id)
    assert found is not None
    assert found.status == dg.DagsterRunStatus.QUEUED
    return found.tags.get(DATASOURCE_TAG)


def partition(queue: dg.DagsterInstance, report: str) -> str | None:
    """As `waiting`, of a partition of `report_file`."""
    tags = {"dagster/partition/config": report, "dagster/partition/date": "2025-01-31"}
    return waiting(queue, "__ASSET_JOB", tags=tags, asset_selection={dg.AssetKey("report_file")})


def test_a_date_of_a_backfill_waits_with_the_tag_of_its_data_source(queue: dg.DagsterInstance) -> None:
    assert partition(queue, "12-whatever-it-is-called") == "7"


@pytest.mark.parametrize(
    "said", [{"config_id": 12}, {"execution_id": "asked-for"}], ids=["report", "execution"]
)
def test_a_launch_by_an_id_alone_waits_with_it(queue: dg.DagsterInstance, said: dict[str, Any]) -> None:
    assert waiting(queue, run_config=run_config_of(said)) == "7"


def test_a_tag_that_a_launch_has_stays(queue: dg.DagsterInstance) -> None:
    run_config = run_config_of({"config_id": 12})
    assert waiting(queue, run_config=run_config, tags={DATASOURCE_TAG: "3"}) == "3"


def test_runs_of_no_report_that_is_known_wait_without_it(queue: dg.DagsterInstance) -> None:
    assert [partition(queue, key) for key in ("99-gone", "sales")] == [None, None]
    for said in ({"config_id": 99}, {"execution_id": "unknown"}, {}):
        assert waiting(queue, run_config=run_config_of(said)) is None
    assert waiting(queue, "purge_files", run_config={}) is None


def test_without_the_shared_database_a_run_waits_all_the_same(
    queue: dg.DagsterInstance,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    elsewhere = tmp_path / "none.db"
    monkeypatch.setenv("REPORTHUB_DATABASE_URL", f"sqlite:///{elsewhere}")
    assert partition(queue, "12-twelve") is None
    assert not elsewhere.exists()
    monkeypatch.setenv("REPORTHUB_DATABASE_URL", "mysql://hub:canary-41@127.0.0.1:1/hub")
    assert partition(queue, "12-twelve") is None
    assert "waits without the tag of its data source" in caplog.text
    assert "canary-41" not in caplog.text
