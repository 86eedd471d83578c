"""What a person or a program may say when launching a report: ids and choices, never a secret."""

from collections.abc import Mapping
from typing import Any

import dagster as dg
from pydantic import Field

EXECUTION_TAG = "reporthub/execution_id"
DATASOURCE_TAG = "reporthub/datasource_id"
REPORT_TAG = "reporthub/report"
"""The name of the report, for people who look at a list of runs."""
RETRY_TAG = "reporthub/retry"
GIVEN_BACK_TAG = "reporthub/given_back"
"""Of a run whose worker was told to stop: what interrupts it is no person's wish."""
"""Of a run that nobody asked for: only retries that are due, as `delivery_retry_sensor` starts it."""
PRIORITY_TAG = "dagster/priority"
BACKFILL_PRIORITY = "-10"
"""In Dagster's queue a window of the past comes after what is due."""
_TEST_RUN = (
    "or `me`: a test run, in which every e-mail delivery goes to the address in `executed_by` and to nobody "
    "else, marked as a test. In place of `me` addresses may stand, separated by commas."
)
_EXECUTED_BY = "Who asks, kept in `report_executions`: a name, or your e-mail address for `deliver: me`."


def run_config_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The run config of `execute_report` that says this to its first op."""
    return {"ops": {"compute_time_range": {"config": dict(config)}}}


def redelivery_config_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The run config of `redeliver_report` that says this to its first op."""
    return {"ops": {"open_redelivery": {"config": dict(config)}}}


def tags_of(
    *,
    config_id: int,
    executed_by: str,
    execution_id: str | None = None,
    schedule_id: int | None = None,
    datasource_id: int | None = None,
) -> dict[str, str]:
    """What a run can be found by."""
    tags = {
        EXECUTION_TAG: execution_id,
        "reporthub/config_id": config_id,
        "reporthub/schedule_id": schedule_id,
        DATASOURCE_TAG: datasource_id,
        "reporthub/executed_by": executed_by,
    }
    return {name: str(value) for name, value in tags.items() if value is not None}


class ReportRunConfig(dg.Config):
    """One report run. Fill in `config_id`; everything else has a default."""

    config_id: int = Field(default=0, description="Which report: `report_configs.id`.")
    execution_id: str = Field(
        default="",
        description="A queued row of `report_executions` to execute, instead of `config_id`; asking twice "
        "is asking once.",
    )
    schedule_id: int = Field(
        default=0,
        description="`report_schedules.id` whose time zone, cron and `last_run_at` give the window. "
        "0: none, the window is the last day.",
    )
    start: str = Field(
        default="",
        description="First moment of the window, for example `2025-01-31` or `2025-01-31 08:00`, in the "
        "schedule's zone unless it has an offset. Empty: computed.",
    )
    end: str = Field(default="", description="First moment after the window; as `start`. Empty: computed.")
    parameters: dict[str, Any | None] = Field(
        default={}, description="Values for the query's `{{variables}}` and `:names`, before all others."
    )
    deliver: str = Field(
        default="all",
        description=f"`all`, `none` (only make the file), {_TEST_RUN}",
    )
    executed_by: str = Field(default="dagster", description=_EXECUTED_BY)


class RedeliveryRunConfig(dg.Config):
    """One redelivery. Fill in `execution_id`; everything else has a default."""

    execution_id: str = Field(description="Which execution: `report_executions.id`.")
    delivery_id: int = Field(default=0, description="Only this row of `report_deliveries`. 0: all.")
    recipient: str = Field(default="", description="Only this recipient. Empty: all.")
    include_unknown: bool = Field(
        default=False,
        description="Send also to those who may have it already: the answer to an earlier message was lost.",
    )


class PartitionRunConfig(dg.Config):
    """What one partition of `report_file` may be told; report and day are in its key."""

    deliver: str = Field(
        default="none",
        description=f"`none` (only make the file), `all`, {_TEST_RUN}",
    )
    parameters: dict[str, Any | None] = Field(
        default={}, description="Values for the query's `{{variables}}` and `:names`, before all others."
    )
    executed_by: str = Field(default="backfill", description=_EXECUTED_BY)


class BackfillConfig(dg.Config):
    """A backfill of a report's slots: one execution for each, run as soon as there is room."""

    config_id: int = Field(description="Which report: `report_configs.id`.")
    start: str = Field(
        description="Slots from here on, for example `2025-01-01` or `2025-01-01 08:00`, in the schedule's "
        "zone."
    )
    end: str = Field(default="", description="Slots before this moment; as `start`. Empty: now.")
    schedule_id: int = Field(
        default=0,
        description="`report_schedules.id` whose cron cuts the windows. 0: the report's only active one; "
        "without any, days.",
    )
    only_missing: bool = Field(
        default=False, description="Leave out slots whose report was made, or is being made."
    )
    deliver: str = Field(
        default="none",
        description=f"`none` (only make the files), `all`, {_TEST_RUN}",
    )
    parameters: dict[str, Any | None] = Field(
        default={}, description="Values for the query's `{{variables}}` and `:names`, before all others."
    )
    executed_by: str = Field(default="backfill", description=_EXECUTED_BY)
