"""A run in a process of its own, for tests that kill, pause or stop it.

It beats fast, and halts where the test asks for it until the test opens the gate.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import count
from multiprocessing.process import BaseProcess
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import dagster as dg
from dagster._utils.interrupts import capture_interrupts

from reporthub_dagster.db import leases
from reporthub_dagster.instance import report_job
from reporthub_dagster_tests import forked
from reporthub_dagster_tests.local_instance import local_instance

BEAT_SECONDS = 0.1
LEASE_SECONDS = 3.0
PLACES = {
    "row": ("reporthub_dagster.opening._open_execution", 1),
    "claim": ("reporthub_dagster.attempt.claim_execution", 1),
    "plan": ("reporthub_dagster.opening.plan_report", 1),
    "render": ("reporthub_dagster.rendering.write_files", 1),
    "between": ("reporthub_dagster.attempt.held_claim", 2),
    "mid-render": ("reporthub_dagster.renderers.base.Section.slices", 1),
    "second file": ("reporthub_dagster.renderers.json.JsonRenderer.write", 1),
    "manifest": ("reporthub_dagster.rendering.write_manifest", 1),
    "fan out": ("reporthub_dagster.attempt.held_claim", 3),
    "deliver": ("reporthub_dagster.delivering.parcel_variables", 1),
    "finish": ("reporthub_dagster.run_metadata.of_plan", 2),
    "told": ("reporthub_dagster.attempt.tell", 1),
}
"""Where a run may halt: at which call of a function. `between`: one op is done, the next has no claim.

`row`: nothing is written; `claim`: its row is, `told`: its outcome, unknown to Dagster.
`mid-render`: a file has begun and has no rows; `second file`: the first one is whole; `manifest`: all are."""


def start(home: Path, *, halt: str = "", **config: Any) -> BaseProcess:
    """Start a run on the Dagster instance of a test installation; the environment says the rest."""
    return forked.start(_run, home, halt, config, log=home / "run.log")


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


def _run(home: Path, place: str, config: dict[str, Any]) -> None:
    """Run the job as a run worker does: signals count between the steps, too."""
    leases.BEAT_SECONDS, leases.LEASE_SECONDS = BEAT_SECONDS, LEASE_SECONDS
    if place:
        path, at_call = PLACES[place]
        owner, _, name = path.rpartition(".")
        module = resolve_name(owner)
        setattr(module, name, _halting(getattr(module, name), home, at_call))
    run_config = {"ops": {"compute_time_range": {"config": config}}}
    with (
        capture_interrupts(),
        local_instance(home / "dagster") as instance,
        dg.execute_job(dg.reconstructable(report_job), instance, run_config),
    ):
        pass
