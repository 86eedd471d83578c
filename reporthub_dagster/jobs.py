"""The shapes of a report run and of a redelivery, readable in one glance."""

from __future__ import annotations

from typing import Any

import dagster as dg

from reporthub_dagster.backfill_ops import compute_partition_window, queue_windows
from reporthub_dagster.ops import (
    compute_time_range,
    deliver,
    fan_out_deliveries,
    finish_execution,
    render_file,
    run_query,
)
from reporthub_dagster.partitions import report_partitions
from reporthub_dagster.redelivery_ops import open_redelivery

_DESCRIPTION = """
Makes one report and delivers it: **window → query → file → deliveries**.

Fill in `config_id` (a row of `report_configs`); everything else has a default:

```yaml
ops:
  compute_time_range:
    config:
      config_id: 12
      # empty: from the schedule,
      # or the last day
      start: "2025-01-01"
      end: "2025-02-01"
      parameters: {region: EU}
      # all, none, or me: a test
      # run, to executed_by alone
      deliver: me
      executed_by: ana@example.com
```

The outcome is a row of `report_executions`. A re-execution of the run is another attempt at the same
execution: rows that were read are not read again, and nobody gets the file twice.
"""


_REDELIVERY = """
Delivers what an earlier run has made, byte for byte, to those who have not got it: **archive → deliveries**.

```yaml
ops:
  open_redelivery:
    config:
      # a row of report_executions
      execution_id: 6f1c…
      # 0: all
      delivery_id: 7
      # empty: all
      recipient: ana@example.com
      # true: also to those who
      # may have it already
      include_unknown: false
```
"""


_ASSET = """
The file of one report for one day. Pick reports and dates and materialize: each is a run of its own, for that
day in the zone of the report's schedule.

**Nothing is delivered unless you ask**: `deliver: all` sends to everybody; `deliver: me` is a test run that
goes by e-mail to the address in `executed_by` and to nobody else.

```yaml
ops:
  report_file:
    ops:
      compute_partition_window:
        config:
          deliver: me
          executed_by: ana@example.com
```

Schedules do not notice: `last_run_at` stays as it is. For windows as a schedule cuts them there is the job
`backfill_report`.
"""

_BACKFILL = """
Queues one execution for each slot of a report's schedule in the past, oldest first: **slots → windows →
queued executions**. The schedule sensor starts them as there is room, after everything that is due.

```yaml
ops:
  queue_windows:
    config:
      config_id: 12
      start: "2025-01-01"
      # empty: now
      end: "2025-02-01"
      # leave out what has been made
      only_missing: true
      # all, none, or me:
      # to executed_by alone
      deliver: none
```

The run's page names the backfill; `reporthub backfills` shows how far each is, and cancels.
"""


def _make_and_deliver(plan: Any) -> Any:
    """What both graphs do once the window is known."""
    report = render_file(run_query(plan))
    outcomes = fan_out_deliveries(report).map(lambda task: deliver(task, report))
    return finish_execution(report, outcomes.collect())


@dg.graph
def report() -> None:
    """Window → query → file → deliveries."""
    _make_and_deliver(compute_time_range())


@dg.graph_asset(
    name="report_file",
    description=_ASSET.strip(),
    partitions_def=report_partitions(),
    group_name="reports",
    tags={"reporthub/kind": "report"},
)
def report_file() -> Any:
    """The same, for the report and the day of a partition."""
    return _make_and_deliver(compute_partition_window())


@dg.job(
    name="backfill_report",
    description=_BACKFILL.strip(),
    executor_def=dg.in_process_executor,
    tags={"reporthub/kind": "backfill"},
)
def backfill_report() -> None:
    """Slots → windows → queued executions."""
    queue_windows()


execute_report = report.to_job(
    name="execute_report",
    description=_DESCRIPTION.strip(),
    executor_def=dg.in_process_executor,
    tags={"reporthub/kind": "report"},
)


@dg.graph
def redelivery() -> None:
    """Archive → deliveries."""
    report, tasks = open_redelivery()
    outcomes = tasks.map(lambda task: deliver(task, report))
    finish_execution(report, outcomes.collect())


redeliver_report = redelivery.to_job(
    name="redeliver_report",
    description=_REDELIVERY.strip(),
    executor_def=dg.in_process_executor,
    tags={"reporthub/kind": "redelivery"},
)
