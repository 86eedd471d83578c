from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest
from click.testing import CliRunner
from dagster import DagsterRunStatus

from reporthub_dagster.attempt import environment_secrets
from reporthub_dagster.cli import main
from reporthub_dagster.dagster_internals import DagsterUserCodeUnreachableError, LaunchRunContext
from reporthub_dagster.instance import report_job
from reporthub_dagster.worker.launcher import ReportRunLauncher

NOBODY_THERE = "redis://:canary-7731@127.0.0.1:1/0"


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def launcher(instance: dg.DagsterInstance) -> ReportRunLauncher:
    launcher = ReportRunLauncher(NOBODY_THERE)
    launcher.register_instance(instance)
    return launcher


def test_a_broker_that_is_away_lets_the_run_go_back_to_the_queue(
    instance: dg.DagsterInstance, launcher: ReportRunLauncher
) -> None:
    run = instance.create_run_for_job(report_job())
    with pytest.raises(DagsterUserCodeUnreachableError, match="the broker does not answer") as raised:
        launcher.launch_run(LaunchRunContext(run, None))
    assert "canary" not in str(raised.value)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (DagsterRunStatus.STARTING, DagsterRunStatus.CANCELED),
        (DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING),
    ],
)
def test_a_run_that_has_not_started_is_cancelled_at_once_and_another_by_its_worker(
    instance: dg.DagsterInstance,
    launcher: ReportRunLauncher,
    before: DagsterRunStatus,
    after: DagsterRunStatus,
) -> None:
    run = instance.create_run_for_job(report_job(), status=before)
    assert launcher.terminate(run.run_id)
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    assert found.status == after


def test_a_run_that_has_ended_is_not_cancelled(
    instance: dg.DagsterInstance, launcher: ReportRunLauncher
) -> None:
    run = instance.create_run_for_job(report_job(), status=DagsterRunStatus.SUCCESS)
    assert not launcher.terminate(run.run_id)
    assert not launcher.terminate("nothing")


def test_whether_a_run_lives_is_not_asked_of_the_launcher(launcher: ReportRunLauncher) -> None:
    assert not launcher.supports_check_run_worker_health
    assert not launcher.supports_resume_run


def test_a_worker_without_a_broker_says_which_setting_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REPORTHUB_BROKER_URL", raising=False)
    result = CliRunner().invoke(main, ["worker"])
    assert result.exit_code == 2
    assert "REPORTHUB_BROKER_URL" in result.stderr


def test_the_brokers_password_is_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPORTHUB_BROKER_URL", NOBODY_THERE)
    assert "canary-7731" in environment_secrets()
