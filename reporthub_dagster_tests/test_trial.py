"""Trying one row: on the command line and as Dagster jobs; nothing else is touched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from click.testing import CliRunner, Result

from reporthub_dagster.cli import main
from reporthub_dagster.definitions import wiring
from reporthub_dagster_tests.installation import World
from reporthub_dagster_tests.servers.process import free_port

pytestmark = pytest.mark.parametrize("world", ["sqlite"], indirect=True)


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def reporthub(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def job(name: str, config: dict[str, Any], instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    op = f"try_one_{name.removeprefix('test_')}"
    job = wiring().resolve_job_def(name)
    return job.execute_in_process(
        {
            "ops": {op: {"config": config}},
            "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
        },
        instance=instance,
        raise_on_error=False,
    )


def nothing_was_done(world: World) -> bool:
    tables = ("report_executions", "report_delivery_logs")
    counts = [world.go.row(f"SELECT COUNT(*) AS n FROM {table}")["n"] for table in tables]
    return counts == [0, 0] and not list(world.share.iterdir())


def test_a_delivery_is_tried_and_nothing_is_delivered(world: World) -> None:
    for row in ("1", "2"):
        result = reporthub("test-delivery", row)
        assert result.exit_code == 0, result.output
        assert [line.split()[0] for line in result.stdout.splitlines()] == ["ok"] * 3
    assert world.mail.mails == []
    assert nothing_was_done(world)


def test_a_test_mail_goes_to_one_address_only_and_says_what_it_is(world: World) -> None:
    options = json.dumps({"subject": "Sales", "cc": "boss@finance.test", "bcc": ["audit@finance.test"]})
    world.go.execute("UPDATE report_deliveries SET delivery_config = :options WHERE id = 1", options=options)
    result = reporthub("test-delivery", "1", "--to", "me@ops.test", "--json")
    assert result.exit_code == 0, result.output
    (mail,) = world.mail.mails
    assert mail.recipient == "me@ops.test"
    assert mail.message["subject"] == "[Test] Sales"
    assert list(mail.attachments) == ["reporthub-test.txt"]
    found = json.loads(result.stdout)
    assert [step["name"] for step in found["steps"]][-1] == "send to me@ops.test"
    assert all(step["milliseconds"] >= 0 for step in found["steps"])
    assert nothing_was_done(world)


def test_the_step_that_fails_says_what_to_change_and_ends_the_trial(world: World) -> None:
    gone = json.dumps({"path": str(world.home / "gone")})
    world.go.execute("UPDATE report_deliveries SET delivery_config = :options WHERE id = 2", options=gone)
    result = reporthub("test-delivery", "2", "--json")
    found = json.loads(result.stdout)
    assert (result.exit_code, found["status"]) == (2, "failed")
    assert [step["succeeded"] for step in found["steps"]] == [True, True, False]
    assert "delivery_config.path: the folder does not exist" in found["error"]


def test_what_may_pass_is_no_fault_of_a_row(world: World) -> None:
    options = json.dumps({"smtp_server": "127.0.0.1", "smtp_port": free_port(), "from_email": "a@b.test"})
    world.go.execute("UPDATE report_deliveries SET delivery_config = :options WHERE id = 1", options=options)
    assert reporthub("test-delivery", "1").exit_code == 1
    assert reporthub("test-delivery", "99").exit_code == 2
    assert reporthub("test-delivery", "2", "--to", "me@ops.test").exit_code == 2


def test_a_data_source_is_tried(world: World) -> None:
    result = reporthub("test-datasource", "1")
    assert result.exit_code == 0, result.output
    assert "SQLite" in result.stdout
    assert "warning: the account may write (the file " in result.stdout
    world.go.execute("UPDATE report_datasources SET connection_url = 'sqlite:////nowhere/x.db' WHERE id = 1")
    broken = reporthub("test-datasource", "1", "--json")
    assert broken.exit_code == 2
    assert "report_datasources 1" in json.loads(broken.stdout)["error"]


def test_the_jobs_show_their_steps(world: World) -> None:
    for name, config in (("test_delivery", {"delivery_id": 1}), ("test_datasource", {"datasource_id": 1})):
        result = job(name, config, world.instance)
        assert result.success
        (event,) = [e for e in result.all_events if e.is_successful_output]
        steps = event.step_output_data.metadata["steps"]
        assert isinstance(steps, dg.TableMetadataValue)
        tried = ["read the row", "prepare", "connect"]
        if name == "test_datasource":
            tried = ["read the row", "prepare", "resolve", "connect", "rights"]
        assert [record.data["step"] for record in steps.records] == tried
    assert nothing_was_done(world)


def test_a_job_that_fails_says_why(world: World) -> None:
    result = job("test_delivery", {"delivery_id": 99}, world.instance)
    (failure,) = result.get_step_failure_events()
    told = failure.step_failure_data.user_failure_data
    assert told is not None
    assert "report_deliveries 99" in str(told.description)
    assert "steps" in told.metadata
