"""The ops of a report run: Dagster in, domain out; the retry boundary.

What passes between them are frozen records and paths. Each op finds its execution again by the id in the
plan, so that a run that died anywhere can be run again from there.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import dagster as dg

from reporthub_dagster import attempt, run_metadata
from reporthub_dagster.conditions import Judge
from reporthub_dagster.db.leases import LAUNCH
from reporthub_dagster.deciding import record_delivered, record_judgement
from reporthub_dagster.delivering import Deliverer, DeliveryOutcome, DeliveryTask
from reporthub_dagster.heartbeat import Heartbeat
from reporthub_dagster.planning import (
    ReportRequest,
    instant_from_context,
    parse_deliver,
    plan_report,
    window_from_json,
    window_to_json,
)
from reporthub_dagster.producing import read_rows
from reporthub_dagster.rendering import write_files
from reporthub_dagster.reporting.errors import ConfigurationError
from reporthub_dagster.reporting.records import Execution, QueryResult, RenderedFile, ReportPlan, TimeWindow
from reporthub_dagster.reporting.time_window import NothingLeftError
from reporthub_dagster.resources import HubDatabase, Mailer, OutputStore
from reporthub_dagster.run_config import ReportRunConfig, tags_of
from reporthub_dagster.settings import Settings

PROGRESS_SECONDS = 5.0


@dg.op(out=dg.Out(ReportPlan, is_required=False))
def compute_time_range(
    context: dg.OpExecutionContext, config: ReportRunConfig, hub: HubDatabase
) -> Iterator[dg.Output[ReportPlan]]:
    """Claim the execution, load its report, fix the window; yields nothing when there is nothing to do."""
    yield from begin(context, config, hub)


@dg.op
def run_query(
    context: dg.OpExecutionContext, plan: ReportPlan, hub: HubDatabase, store: OutputStore
) -> dg.Output[list[QueryResult]]:
    """Stream each query's rows into a spool, the one copy that every format and every retry reads."""
    folder = store.folder(plan.execution_id)
    with attempt.at_work(context, hub, plan.execution_id, retries=0) as work:
        progress = _progress(context, work.heart)
        longest = Settings.load().query_timeout_seconds or math.inf
        rows = attempt.patiently(
            context,
            lambda: read_rows(
                plan,
                hub.repository,
                folder,
                progress,
                longest_seconds=longest,
                guard=work.heart.stopping,
            ),
        )
        work.heart.check()
        results = rows.results
        attempt.patiently(context, lambda: hub.executions.query_done(work.claim, results, rows.context()))
        for line in run_metadata.lines_of_rows(rows):
            context.log.info(line)
        for result in results:
            if result.truncated:
                place = f" of {result.name}" if result.name else ""
                context.log.warning(f"Cut at max_rows = {plan.max_rows:,}: the source has more rows{place}")
        _tolerate(context, hub, work, rows.warnings)
        return dg.Output(results, metadata=run_metadata.of_rows(rows))


@dg.op
def render_file(
    context: dg.OpExecutionContext,
    plan: ReportPlan,
    results: list[QueryResult],
    hub: HubDatabase,
    store: OutputStore,
) -> dg.Output[list[RenderedFile]]:
    """Write the report's files from the spools, each whole or not at all."""
    with attempt.at_work(context, hub, plan.execution_id) as work:
        files = write_files(plan, results, store.folder(plan.execution_id))
        _tolerate(context, hub, work, [warning for file in files for warning in file.warnings])
        hub.executions.files_done(work.claim, files, plan)
        for file in files:
            context.log.info(f"{file.name}: {file.row_count:,} rows, {file.size:,} bytes")
        return dg.Output(list(files), metadata=run_metadata.of_files(files))


@dg.op(out=dg.DynamicOut(DeliveryTask))
def fan_out_deliveries(
    context: dg.OpExecutionContext,
    plan: ReportPlan,
    results: list[QueryResult],
    files: list[RenderedFile],
    hub: HubDatabase,
    store: OutputStore,
) -> Iterator[dg.DynamicOutput[DeliveryTask]]:
    """One branch per active delivery of the report, if it is worth sending."""
    folder = store.folder(plan.execution_id)
    with attempt.at_work(context, hub, plan.execution_id) as work:
        delivery_ids = hub.repository.active_delivery_ids(plan.config_id)
        judge = Judge(hub.repository, hub.digests, plan, tuple(results), folder)
        not_sent = record_judgement(hub.hub, work.claim, judge, files, delivery_ids)
    if plan.deliver == "none" or not_sent:
        place = files[0].path.parent
        context.log.info(f"Nothing is delivered: {not_sent or 'as asked'}; the files are in {place}")
        return
    for delivery_id in delivery_ids:
        yield branch_of(DeliveryTask(delivery_id))


@dg.op
def deliver(
    context: dg.OpExecutionContext,
    task: DeliveryTask,
    plan: ReportPlan,
    files: list[RenderedFile],
    hub: HubDatabase,
    mailer: Mailer,
) -> dg.Output[DeliveryOutcome]:
    """Send the files to one delivery's recipients; a failure is this branch's own, the others go on."""
    with attempt.at_work(context, hub, plan.execution_id, is_branch=True) as work:
        deliverer = Deliverer(
            repository=hub.repository,
            ledger=hub.ledger,
            logs=hub.delivery_logs,
            claim=work.claim,
            plan=plan,
            files=tuple(files),
            settings=mailer.settings(),
            say=context.log.info,
            check=work.heart.check,
            tolerate=lambda warnings: _tolerate(context, hub, work, warnings),
        )
        outcome = deliverer.deliver(task)
        work.metadata.update(run_metadata.of_deliveries([outcome]))
        failure = outcome.failure()
        if failure is not None:
            raise failure
        hub.executions.branch_done(work.claim, at=hub.hub.now())
        return dg.Output(outcome, metadata=work.metadata)


@dg.op(out=dg.Out(dg.Nothing))
def finish_execution(
    context: dg.OpExecutionContext,
    plan: ReportPlan,
    results: list[QueryResult],
    files: list[RenderedFile],
    outcomes: list[DeliveryOutcome],
    hub: HubDatabase,
) -> None:
    """Close the execution, or leave it to a retry; this op runs only when no delivery has failed."""
    with attempt.at_work(context, hub, plan.execution_id) as work:
        summary = (
            run_metadata.of_deliveries(outcomes) | run_metadata.of_files(files) | run_metadata.of_plan(plan)
        )
        truncated = any(result.truncated for result in results)
        context.add_output_metadata({**summary, "truncated": truncated})
        if any(outcome.retry_at for outcome in outcomes):
            hub.executions.wait(work.claim)
            context.log.warning("Not everybody has it: delivery_retry_sensor starts the next attempt.")
            return
        record_delivered(hub.hub, plan)
        hub.executions.finish(work.claim, "completed", at=hub.hub.now())
        attempt.tell(hub, plan.execution_id, context.log.info)


def branch_of(task: DeliveryTask, output: str = "result") -> dg.DynamicOutput[DeliveryTask]:
    """A branch of the run, by the name that people see."""
    return dg.DynamicOutput(task, mapping_key=f"delivery_{task.delivery_id}", output_name=output)


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
        execution = attempt.patiently(context, lambda: _open_execution(context, config, hub, window))
        launch = _launch(config, execution)
        remember = {LAUNCH: launch, "warnings": []}
        claim = attempt.patiently(context, lambda: attempt.claim_execution(context, hub, execution, remember))
    if claim is None:
        return
    with attempt.at_work(context, hub, execution.id, claim) as work:
        tags = tags_of(
            execution_id=execution.id,
            config_id=execution.config_id,
            schedule_id=execution.schedule_id,
            executed_by=execution.executed_by,
        )
        context.instance.add_run_tags(context.run_id, tags)
        try:
            plan = plan_report(
                hub.repository,
                request_of(launch, execution),
                execution_id=execution.id,
                now=hub.hub.now(),
                default_timezone=Settings.load().default_timezone,
            )
        except NothingLeftError as reason:
            context.log.warning(str(reason))
            hub.executions.finish(work.claim, "cancelled", at=hub.hub.now(), error=str(reason))
            return
        hub.executions.remember(work.claim, _plan_context(plan))
        context.log.info(f"{plan.report_name}: window {run_metadata.window_text(plan.window)}")
        _tolerate(context, hub, work, plan.warnings)
        metadata = run_metadata.of_plan(plan)
    yield dg.Output(plan, metadata=metadata)


def _open_execution(
    context: dg.OpExecutionContext, config: ReportRunConfig, hub: HubDatabase, window: TimeWindow | None
) -> Execution:
    """The row of this run's execution, written now if it is not there.

    Raises:
        ConfigurationError: The launch names no report, or not the one of the execution.
    """
    execution_id = attempt.execution_id_of(context, config.execution_id)
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
            at=hub.hub.now(),
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
        deliver=parse_deliver(launch["deliver"]),
        executed_by=execution.executed_by,
        window=window_from_json(execution.context.get("time_range")),
        slot=instant_from_context(execution.context, "slot"),
        follows=instant_from_context(execution.context, "follows"),
    )


def _plan_context(plan: ReportPlan) -> dict[str, Any]:
    return {
        "time_range": window_to_json(plan.window),
        "output_format": plan.formats[0],
        "formats": list(plan.formats),
        "deliver": plan.deliver if isinstance(plan.deliver, str) else list(plan.deliver),
    }


def _tolerate(
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


def _progress(context: dg.OpExecutionContext, heart: Heartbeat) -> Callable[[int], None]:
    """A listener that logs the rows so far, every few seconds, and stops a run that was taken over."""
    last = time.monotonic()

    def tell(rows: int) -> None:
        nonlocal last
        heart.check()
        if time.monotonic() - last >= PROGRESS_SECONDS:
            last = time.monotonic()
            context.log.info(f"{rows:,} rows so far")

    return tell
