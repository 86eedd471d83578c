"""What sensors ask Dagster about the runs of executions, and how they say what they decided."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

from reporthub_dagster.run_config import EXECUTION_TAG

_NOT_STARTED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
]
_MOST_ASKED = 100
_LONGEST = 2_000
"""Characters of a tick's words: Dagster keeps them with its run requests in one row of 64 KiB."""


def tell_tick(context: dg.SensorEvaluationContext, message: str) -> None:
    """Show what a tick decided where Dagster lists ticks.

    A tick that asks for runs can have no skip message, and its log is lost where logs are not captured. Its
    cursor is shown, and these sensors need none: all that they know is in the shared database.
    """
    context.log.info(message)
    context.update_cursor(message[:_LONGEST])


def not_started(instance: dg.DagsterInstance, execution_ids: Sequence[str]) -> set[str]:
    """The executions that have a run which has not started: it waits for its turn, or for a worker."""
    found = set()
    for start in range(0, len(execution_ids), _MOST_ASKED):
        portion = list(execution_ids[start : start + _MOST_ASKED])
        runs = instance.get_runs(dg.RunsFilter(statuses=_NOT_STARTED, tags={EXECUTION_TAG: portion}))
        found |= {run.tags[EXECUTION_TAG] for run in runs}
    return found
