from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
import yaml

from reporthub_dagster.definitions import wiring
from reporthub_dagster.run_config import (
    BackfillConfig,
    PartitionRunConfig,
    RedeliveryRunConfig,
    ReportRunConfig,
)
from reporthub_dagster.trial_jobs import DatasourceTrialConfig, DeliveryTrialConfig

ROOT = Path(__file__).parents[2]
JOBS = [
    *("execute_report", "redeliver_report", "backfill_report"),
    *("test_delivery", "test_datasource", "purge_files"),
]
CONFIGS = [
    *(ReportRunConfig, RedeliveryRunConfig, PartitionRunConfig, BackfillConfig),
    *(DeliveryTrialConfig, DatasourceTrialConfig),
]


def test_the_names_that_other_programs_call_are_there() -> None:
    job = wiring().resolve_job_def("execute_report")
    assert list(job.graph.node_dict) == [
        "compute_time_range",
        "run_query",
        "render_file",
        "fan_out_deliveries",
        "deliver",
        "finish_execution",
    ]
    assert set(ReportRunConfig.model_fields) == {
        *("config_id", "execution_id", "schedule_id", "start", "end", "parameters", "deliver", "executed_by"),
    }


@pytest.mark.parametrize("name", JOBS)
def test_every_job_shows_a_config_that_dagster_takes(name: str) -> None:
    job = wiring().resolve_job_def(name)
    examples = re.findall(r"```yaml\n(.*?)```", job.description or "", re.DOTALL)
    assert len(examples) == (0 if name == "purge_files" else 1)
    for example in examples:
        dg.validate_run_config(job, yaml.safe_load(example))


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.__name__)
def test_every_config_field_is_described(config: type[dg.Config]) -> None:
    assert [name for name, field in config.model_fields.items() if not field.description] == []


def test_a_launch_needs_nothing_but_a_config_id() -> None:
    job = wiring().resolve_job_def("execute_report")
    dg.validate_run_config(job, {"ops": {"compute_time_range": {"config": {"config_id": 1}}}})


def test_a_bad_value_is_refused_before_the_launch() -> None:
    job = wiring().resolve_job_def("execute_report")
    with pytest.raises(dg.DagsterInvalidConfigError, match="config_id"):
        dg.validate_run_config(job, {"ops": {"compute_time_range": {"config": {"config_id": "one"}}}})


def test_the_workspace_loads_the_code_location(tmp_path: Path) -> None:
    command = ["dagster", "definitions", "validate", "-w", "workspace.yaml"]
    finished = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env={**os.environ, "DAGSTER_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert "reporthub" in finished.stdout + finished.stderr


def test_loading_the_definitions_opens_nothing_and_imports_no_kind() -> None:
    code = (
        "import sys, reporthub_dagster.definitions; "
        "kinds = [m for m in sys.modules if m.startswith(('reporthub_dagster.connectors.mysql', 'reportlab', "
        "'isal', 'numpy', 'pandas', 'pyarrow', 'pymysql', 'psycopg'))]; print(kinds)"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert finished.stdout.strip() == "[]"
