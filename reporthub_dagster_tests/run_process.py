"""A run in a process of its own, for tests that kill, pause or stop it: `python -m … '{"config": …}'`.

It beats fast, and halts where the test asks for it until the test opens the gate.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import dagster as dg
from dagster._utils.interrupts import capture_interrupts

from reporthub_dagster.db import leases
from reporthub_dagster.instance import report_job

BEAT_SECONDS = 0.1
LEASE_SECONDS = 3.0
PLACES = {
    "plan": ("reporthub_dagster.ops.plan_report", 1),
    "render": ("reporthub_dagster.ops.write_files", 1),
    "between": ("reporthub_dagster.attempt.held_claim", 2),
    "mid-render": ("reporthub_dagster.renderers.base.Section.slices", 1),
    "second file": ("reporthub_dagster.renderers.json.JsonRenderer.write", 1),
    "manifest": ("reporthub_dagster.rendering.write_manifest", 1),
    "fan out": ("reporthub_dagster.attempt.held_claim", 3),
    "deliver": ("reporthub_dagster.delivering.parcel_variables", 1),
    "finish": ("reporthub_dagster.run_metadata.of_plan", 2),
}
"""Where a run may halt: at which call of a function. `between`: one op is done, the next has no claim.

`mid-render`: a file has begun and has no rows; `second file`: the first one is whole; `manifest`: all are."""


def start(home: Path, *, halt: str = "", **config: Any) -> subprocess.Popen[bytes]:
    """Start a run on the Dagster instance of a test installation; the environment says the rest."""
    said = {"home": str(home), "halt": halt, "config": config}
    command = [sys.executable, "-m", "reporthub_dagster_tests.run_process", json.dumps(said)]
    with (home / "run.log").open("ab") as log:
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log)


def halted(home: Path) -> bool:
    """Whether a run has come to where it was to halt."""
    return (home / "halted").exists()


def open_gate(home: Path) -> None:
    """Let the run go on."""
    (home / "gate").touch()


def _halting(function: Callable[..., Any], home: Path, at_call: int) -> Callable[..., Any]:
    calls = count(1)

    def halt(*arguments: Any, **options: Any) -> Any:
        if next(calls) == at_call:
            (home / "halted").touch()
            while not (home / "gate").exists():
                time.sleep(0.02)
        return function(*arguments, **options)

    return halt


def main() -> None:
    """Run the job as a run worker does: signals count between the steps, too."""
    said = json.loads(sys.argv[1])
    home = Path(said["home"])
    leases.BEAT_SECONDS, leases.LEASE_SECONDS = BEAT_SECONDS, LEASE_SECONDS
    if said["halt"]:
        path, at_call = PLACES[said["halt"]]
        owner, _, name = path.rpartition(".")
        place = resolve_name(owner)
        setattr(place, name, _halting(getattr(place, name), home, at_call))
    run_config = {"ops": {"compute_time_range": {"config": said["config"]}}}
    with (
        capture_interrupts(),
        dg.DagsterInstance.local_temp(str(home / "dagster")) as instance,
        dg.execute_job(dg.reconstructable(report_job), instance, run_config),
    ):
        pass


if __name__ == "__main__":
    main()
