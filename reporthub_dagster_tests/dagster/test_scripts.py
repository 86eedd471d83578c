"""Whole runs of a report with a script."""

from __future__ import annotations

import csv
import json
from typing import Any

import pytest

from reporthub_dagster.storage.execution_folder import ExecutionFolder, is_ours
from reporthub_dagster_tests.installation import World
from reporthub_dagster_tests.sandbox.conftest import kernel  # noqa: F401 - fails in CI where it is missing

on_sqlite = pytest.mark.parametrize("world", ["sqlite"], indirect=True)
TOTALS = """
print("orders:", len(data), "since", params["start_date"])
result = data.groupby("status", as_index=False).agg(orders=("trx_id", "count"), amount=("amount", "sum"))
"""


def set_script(world: World, script: Any) -> None:
    parameters = json.dumps({"script": script})
    world.go.execute("UPDATE report_configs SET file_name = 'totals', parameters = :p", p=parameters)


@on_sqlite
def test_a_script_shapes_what_everybody_gets(world: World) -> None:
    set_script(world, TOTALS)
    result = world.run(config_id=1)
    row = world.go.row("SELECT * FROM report_executions")
    assert result.success, row["error_message"]
    with (world.share / "totals.csv").open(newline="") as file:
        lines = list(csv.reader(file))
    assert lines[0] == ["status", "orders", "amount"]
    assert {line[0]: line[2] for line in lines[1:]}["SETTLED"] == "1234567890.25"
    assert row["rows_returned"] == len(lines) - 1
    assert row["execution_context"]["queries"][0]["rows"] > row["rows_returned"]
    assert row["execution_context"]["script_ms"] > 0
    logged = "\n".join(entry.user_message for entry in world.instance.all_logs(result.run_id))
    assert "The script printed:\norders: 7 since " in logged
    assert is_ours(ExecutionFolder(world.home / "output" / row["id"]).path)


@on_sqlite
def test_a_script_that_fails_is_a_persons_to_fix_and_is_not_tried_again(world: World) -> None:
    set_script(world, "print('once')\nresult = data['no such column']")
    result = world.run(config_id=1)
    row = world.go.row("SELECT * FROM report_executions")
    assert not result.success
    assert row["status"] == "failed"
    assert row["error_message"] == (
        "report_configs 1, column parameters.script: line 2: KeyError: 'no such column'"
    )
    assert row["execution_context"]["error_kind"] == "ConfigurationError"
    logged = [entry.user_message for entry in world.instance.all_logs(result.run_id)]
    assert sum("once" in entry and "printed" in entry for entry in logged) == 1
