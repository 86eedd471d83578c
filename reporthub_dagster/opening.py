"""How a run begins on an execution, or goes on with what an earlier one began: row, claim and plan."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import dagster as dg

from reporthub_dagster import attempt, own_run, run_metadata
from reporthub_dagster.audience import parse_deliver
from reporthub_dagster.db.leases import LAUNCH
from reporthub_dagster.planning import ReportRequest, plan_report
from reporthub_dagster.reporting.errors import ConfigurationError
from reporthub_dagster.reporting.kept_window import instant_from_context, window_from_json, window_to_json
from reporthub_dagster.reporting.records import Execution, ReportPlan, TimeWindow
from reporthub_dagster.reporting.time_window import NothingLeftError
from reporthub_dagster.resources import HubDatabase
from reporthub_dagster.run_config import DATASOURCE_TAG, REPORT_TAG, ReportRunConfig, tags_of
from reporthub_dagster.settings import Settings

_NO_LAUNCH = {"start": "", "end": "", "parameters": {}, "deliver": "all"}


def begin(
    context: dg.OpExecutionContext,
    config: ReportRunConfig,
    hub: HubDatabase,
    window: TimeWindow | None = None,
) -> Iterator[dg.Output[ReportPlan]]:
    """Claim an execution and plan it; yields nothing when there is nothing to do.

    Args:
        context: Of the op.
        config: What is asked for.
        hub: The shared database.
        window: Of an execution that is new, where somebody has decided it.
    """
    with attempt.telling(context):
        now = attempt.patiently(context, hub.hub.now)
        execution = attempt.patiently(context, lambda: _open_execution(context, config, hub, window, now))
        launch = _launch(config, execution)
        remember = {LAUNCH: launch, "warnings": []}
        claim = attempt.patiently(
            context, lambda: attempt.claim_execution(context, hub, execution, remember, at=now)
        )
    if claim is None:
        return
    with attempt.at_work(context, hub, execution.id, claim) as work:
        tag_run(context, tags_of_execution(execution))
        try:
            plan = _planned(context, hub, work, request_of(launch, execution), now)
        except NothingLeftError as reason:
            context.log.warning(str(reason))
            hub.executions.finish(work.claim, "cancelled", error=str(reason))
            return
        metadata = run_metadata.of_plan(plan)
    yield dg.Output(plan, metadata=metadata)


def plan_anew(
    context: dg.OpExecutionContext, hub: HubDatabase, work: attempt.Work, plan: ReportPlan
) -> ReportPlan:
    """The plan; where an earlier run has made it, by the rows as they are now, in the same window.

    A person who retries from failure has mended them since.

    Raises:
        ConfigurationError: As `plan_report`.
    """
    if own_run.is_run_here(context, "compute_time_range", "compute_partition_window"):
        return plan
    execution = hub.executions.find(plan.execution_id)
    if execution is None:
        return plan  # the next write says who took it away
    request = replace(first_request(execution), window=plan.window)
    return _planned(context, hub, work, request, hub.hub.now())


def _planned(
    context: dg.OpExecutionContext,
    hub: HubDatabase,
    work: attempt.Work,
    request: ReportRequest,
    now: datetime,
) -> ReportPlan:
    """The plan of an execution, told to whoever watches it.

    Raises:
        ConfigurationError: As `plan_report`.
    """
    plan = plan_report(
        hub.repository,
        request,
        execution_id=work.claim.execution_id,
        now=now,
        default_timezone=Settings.load().default_timezone,
    )
    tag_run(context, tags_of_plan(plan))
    hub.executions.remember(work.claim, _plan_context(plan))
    context.log.info(f"{plan.report_name}: window {run_metadata.window_text(plan.window)}")
    tolerate(context, hub, work, plan.warnings)
    return plan


def tags_of_execution(execution: Execution) -> dict[str, str]:
    """What a run that works on an execution can be found by."""
    return tags_of(
        execution_id=execution.id,
        config_id=execution.config_id,
        schedule_id=execution.schedule_id,
        executed_by=execution.executed_by,
    )


def tags_of_plan(plan: ReportPlan) -> dict[str, str]:
    """What else such a run can be found by, once its report is read."""
    return {DATASOURCE_TAG: str(plan.datasource_id), REPORT_TAG: plan.report_name}


def tag_run(context: dg.OpExecutionContext, tags: Mapping[str, str]) -> None:
    """Let the run be found by these, unless it was launched with them."""
    missing = {name: value for name, value in tags.items() if context.run.tags.get(name) != value}
    if missing:
        context.instance.add_run_tags(context.run_id, missing)


def _open_execution(
    context: dg.OpExecutionContext,
    config: ReportRunConfig,
    hub: HubDatabase,
    window: TimeWindow | None,
    now: datetime,
) -> Execution:
    """The row of this run's execution, written now if it is not there.

    Raises:
        ConfigurationError: The launch names no report, or not the one of the execution.
    """
    execution_id = own_run.execution_id_of(context, config.execution_id)
    found = hub.executions.find(execution_id)
    if found is None:
        schedule_id = config.schedule_id or None
        if not config.config_id:
            raise ConfigurationError(
                "the launch names no report that exists",
                column="config_id",
                value=config.execution_id or None,
                valid="give a config_id, or the execution_id of a row in report_executions",
            )
        hub.repository.require(config_id=config.config_id, schedule_id=schedule_id)
        decided = {"time_range": window_to_json(window)} if window else {}
        found = hub.executions.add(
            execution_id,
            config_id=config.config_id,
            schedule_id=schedule_id,
            executed_by=config.executed_by,
            at=now,
            context={LAUNCH: _launch_of(config), **decided},
        )
    if config.config_id not in {0, found.config_id}:
        raise ConfigurationError(
            f"execution {execution_id} is of report_configs {found.config_id}",
            column="config_id",
            value=config.config_id,
        )
    return found


def _launch(config: ReportRunConfig, execution: Execution) -> Mapping[str, Any]:
    """What is asked for: a launch that names only an execution goes on with what its first launch said."""
    said = execution.context.get(LAUNCH)
    if config.execution_id and not config.config_id and isinstance(said, Mapping):
        return said
    return _launch_of(config)


def _launch_of(config: ReportRunConfig) -> dict[str, Any]:
    return {name: getattr(config, name) for name in ("start", "end", "parameters", "deliver")}


def request_of(launch: Mapping[str, Any], execution: Execution) -> ReportRequest:
    """What a launch asks for, with the window that an earlier attempt has decided."""
    return ReportRequest(
        config_id=execution.config_id,
        schedule_id=execution.schedule_id,
        start=launch["start"],
        end=launch["end"],
        parameters=launch["parameters"],
        deliver=parse_deliver(launch["deliver"], execution.executed_by),
        executed_by=execution.executed_by,
        window=window_from_json(execution.context.get("time_range")),
        slot=instant_from_context(execution.context, "slot"),
        follows=instant_from_context(execution.context, "follows"),
    )


def first_request(execution: Execution) -> ReportRequest:
    """What the first launch of an execution asked for."""
    return request_of({**_NO_LAUNCH, **(execution.context.get(LAUNCH) or {})}, execution)


def _plan_context(plan: ReportPlan) -> dict[str, Any]:
    return {
        "time_range": window_to_json(plan.window),
        "output_format": plan.formats[0],
        "formats": list(plan.formats),
        "deliver": plan.deliver if isinstance(plan.deliver, str) else list(plan.deliver),
    }


def tolerate(
    context: dg.OpExecutionContext, hub: HubDatabase, work: attempt.Work, warnings: Iterable[str]
) -> None:
    """Log and keep what was tolerated; with REPORTHUB_STRICT it is an error.

    Raises:
        ConfigurationError: The operator tolerates nothing.
    """
    told = list(warnings)
    for warning in told:
        context.log.warning(warning)
    if told:
        hub.executions.warn(work.claim, told)
        if Settings.load().strict:
            raise ConfigurationError("; ".join(told), valid="REPORTHUB_STRICT=false lets the report go out")
