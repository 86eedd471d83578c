"""The shapes of a report run and of a redelivery, readable in one glance."""

from __future__ import annotations

import dagster as dg

from reporthub_dagster.ops import (
    compute_time_range,
    deliver,
    fan_out_deliveries,
    finish_execution,
    render_file,
    run_query,
)
from reporthub_dagster.redelivery_ops import open_redelivery

_DESCRIPTION = """
Makes one report and delivers it: **window → query → file → deliveries**.

Fill in `config_id` (a row of `report_configs`); everything else has a default:

```yaml
ops:
  compute_time_range:
    config:
      config_id: 12
      start: "2025-01-01"     # empty: from the schedule, or the last day
      end: "2025-02-01"
      parameters: {region: EU}
      deliver: none           # all | none | me@example.com: a test run, to nobody else
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
      execution_id: 6f1c…        # a row of report_executions
      delivery_id: 7             # 0: all
      recipient: ana@example.com # empty: all
      include_unknown: false     # true: also to those who may have it already
```
"""


@dg.graph
def report() -> None:
    """Window → query → file → deliveries."""
    plan = compute_time_range()
    results = run_query(plan)
    files = render_file(plan, results)
    outcomes = fan_out_deliveries(plan, results, files).map(lambda task: deliver(task, plan, files))
    finish_execution(plan, results, files, outcomes.collect())


execute_report = report.to_job(
    name="execute_report",
    description=_DESCRIPTION.strip(),
    executor_def=dg.in_process_executor,
    tags={"reporthub/kind": "report"},
)


@dg.graph
def redelivery() -> None:
    """Archive → deliveries."""
    plan, results, files, tasks = open_redelivery()
    outcomes = tasks.map(lambda task: deliver(task, plan, files))
    finish_execution(plan, results, files, outcomes.collect())


redeliver_report = redelivery.to_job(
    name="redeliver_report",
    description=_REDELIVERY.strip(),
    executor_def=dg.in_process_executor,
    tags={"reporthub/kind": "redelivery"},
)
