"""The ops of a report run: Dagster in, domain out; the retry boundary.

What passes between them are frozen records and paths. Each op finds its execution again by the id in the
plan, so that a run that died anywhere can be run again from there.

What needs Arrow is imported where it is used: it loads slowly, and a process that only loads the definitions
needs none.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import dagster as dg

from reporthub_dagster import asset_events, attempt, own_run, run_metadata
from reporthub_dagster.deciding import record_delivered, record_judgement
from reporthub_dagster.delivering import Deliverer
from reporthub_dagster.delivery_outcome import DeliveryOutcome
from reporthub_dagster.delivery_task import DeliveryTask
from reporthub_dagster.heartbeat import Heartbeat
from reporthub_dagster.opening import begin, plan_anew, tolerate
from reporthub_dagster.planning import active_config
from reporthub_dagster.reporting.records import MadeReport, ReportPlan
from reporthub_dagster.reporting.redaction import redact
from reporthub_dagster.resources import HubDatabase, Mailer, OutputStore
from reporthub_dagster.run_config import ReportRunConfig
from reporthub_dagster.settings import Settings

if TYPE_CHECKING:
    from reporthub_dagster.producing import ReportRows

PROGRESS_SECONDS = 5.0
PRINTED_CHARACTERS = 4_000
"""Of a log entry: at most 48 KB as JSON, of the 64 KiB that a row of Dagster's log has on MySQL."""


@dg.op(out=dg.Out(ReportPlan, is_required=False))
def compute_time_range(
    context: dg.OpExecutionContext, config: ReportRunConfig, hub: HubDatabase
) -> Iterator[dg.Output[ReportPlan]]:
    """Claim the execution, load its report, fix the window; yields nothing when there is nothing to do."""
    yield from begin(context, config, hub)


@dg.op
def run_query(
    context: dg.OpExecutionContext, plan: ReportPlan, hub: HubDatabase, store: OutputStore
) -> dg.Output[MadeReport]:
    """Stream each query's rows into a spool, the one copy that every format and every retry reads."""
    with attempt.at_work(context, hub, plan.execution_id, retries=0) as work:
        plan = plan_anew(context, hub, work, plan)
        rows = _read(context, hub, store, work, plan)
        return dg.Output(MadeReport(plan, rows.results), metadata=run_metadata.of_rows(rows))


@dg.op
def render_file(
    context: dg.OpExecutionContext, report: MadeReport, hub: HubDatabase, store: OutputStore
) -> dg.Output[MadeReport]:
    """Write the report's files from the spools, each whole or not at all."""
    from reporthub_dagster.rendering import write_files  # noqa: PLC0415

    with attempt.at_work(context, hub, report.plan.execution_id) as work:
        if not own_run.is_run_here(context, "run_query"):
            plan = plan_anew(context, hub, work, report.plan)
            report = MadeReport(plan, _read(context, hub, store, work, plan).results)
        plan = report.plan
        files = write_files(plan, report.results, store.folder(plan.execution_id))
        tolerate(context, hub, work, [warning for file in files for warning in file.warnings])
        are_new = hub.executions.files_done(work.claim, files, plan)
        made = replace(report, files=files, seconds=own_run.seconds_so_far(context))
        for file in files:
            context.log.info(f"{file.name}: {file.row_count:,} rows, {file.size:,} bytes")
        if are_new:
            with asset_events.harmless(context.log.warning):
                context.log_event(asset_events.materialization(hub, made))
        return dg.Output(made, metadata=run_metadata.of_files(files))


@dg.op(out=dg.DynamicOut(DeliveryTask))
def fan_out_deliveries(
    context: dg.OpExecutionContext, report: MadeReport, hub: HubDatabase, store: OutputStore
) -> Iterator[dg.DynamicOutput[DeliveryTask]]:
    """One branch per active delivery of the report, if it is worth sending."""
    from reporthub_dagster.conditions import Judge  # noqa: PLC0415

    plan = report.plan
    folder = store.folder(plan.execution_id)
    with attempt.at_work(context, hub, plan.execution_id) as work:
        if not own_run.is_run_here(context, "render_file"):
            # The files are made; whether they are sent is asked of the row as it is now.
            plan = replace(plan, parameters=active_config(hub.repository, plan.config_id).parameters)
        delivery_ids = hub.repository.active_delivery_ids(plan.config_id)
        judge = Judge(hub.repository, hub.digests, plan, report.results, folder)
        not_sent = record_judgement(hub.hub, work.claim, judge, report.files, delivery_ids)
    if plan.deliver == "none" or not_sent:
        place = report.files[0].path.parent
        context.log.info(f"Nothing is delivered: {not_sent or 'as asked'}; the files are in {place}")
        return
    for delivery_id in delivery_ids:
        yield branch_of(DeliveryTask(delivery_id))


@dg.op
def deliver(
    context: dg.OpExecutionContext,
    task: DeliveryTask,
    report: MadeReport,
    hub: HubDatabase,
    store: OutputStore,
    mailer: Mailer,
) -> dg.Output[DeliveryOutcome]:
    """Send the files to one delivery's recipients; a failure is this branch's own, the others go on."""
    from reporthub_dagster.rendering import make_excerpt  # noqa: PLC0415

    with attempt.at_work(context, hub, report.plan.execution_id, is_branch=True) as work:
        deliverer = Deliverer(
            repository=hub.repository,
            ledger=hub.ledger,
            circuits=hub.circuits,
            logs=hub.delivery_logs,
            claim=work.claim,
            plan=report.plan,
            files=report.files,
            settings=mailer.settings(),
            excerpt=lambda rows: make_excerpt(report.plan, store.folder(report.plan.execution_id), rows),
            say=context.log.info,
            check=work.heart.check,
            tolerate=lambda warnings: tolerate(context, hub, work, warnings),
        )
        outcome = deliverer.deliver(task)
        work.metadata.update(run_metadata.of_deliveries([outcome]))
        failure = outcome.failure()
        if failure is not None:
            raise failure
        hub.executions.branch_done(work.claim)
        return dg.Output(outcome, metadata=work.metadata)


@dg.op(out=dg.Out(dg.Nothing))
def finish_execution(
    context: dg.OpExecutionContext,
    report: MadeReport,
    outcomes: list[DeliveryOutcome],
    hub: HubDatabase,
) -> None:
    """Close the execution, or leave it to a retry; this op runs only when no delivery has failed."""
    plan = report.plan
    with attempt.at_work(context, hub, plan.execution_id) as work:
        receipts = run_metadata.of_deliveries(outcomes)
        context.add_output_metadata({**receipts, **run_metadata.of_product(report)})
        if any(outcome.retry_at for outcome in outcomes):
            hub.executions.wait(work.claim)
            context.log.warning("Not everybody has it: delivery_retry_sensor starts the next attempt.")
        else:
            record_delivered(hub.hub, plan)
            hub.executions.finish(work.claim, "completed")
            attempt.tell(hub, plan.execution_id, context.log.info)
    with asset_events.harmless(context.log.warning):
        for evaluation in asset_events.evaluations(hub, plan.execution_id):
            # It takes one; its annotation forgot that.
            context.log_event(evaluation)  # type: ignore[arg-type]


def branch_of(task: DeliveryTask, output: str = "result") -> dg.DynamicOutput[DeliveryTask]:
    """A branch of the run, by the name that people see."""
    return dg.DynamicOutput(task, mapping_key=f"delivery_{task.delivery_id}", output_name=output)


def _read(
    context: dg.OpExecutionContext,
    hub: HubDatabase,
    store: OutputStore,
    work: attempt.Work,
    plan: ReportPlan,
) -> "ReportRows":
    """The rows of a plan, read now or by an earlier attempt, told to whoever watches.

    Raises:
        ReportHubError: As `read_rows`; or the claim is lost.
    """
    from reporthub_dagster.producing import read_rows  # noqa: PLC0415

    folder = store.folder(plan.execution_id)
    progress = _progress(context, work.heart)
    rows = attempt.patiently(
        context,
        lambda: read_rows(
            plan,
            hub.repository,
            folder,
            progress,
            longest_seconds=Settings.load().query_timeout_seconds or math.inf,
            guard=work.heart.stopping,
            say=lambda text: _log_prints(context, text),
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
    tolerate(context, hub, work, rows.warnings)
    return rows


def _log_prints(context: dg.OpExecutionContext, text: str) -> None:
    """What a script printed, in pieces that Dagster's MySQL storage has room for."""
    text = redact(text, attempt.environment_secrets())
    for start in range(0, len(text), PRINTED_CHARACTERS):
        context.log.info(f"The script printed:\n{text[start : start + PRINTED_CHARACTERS]}")


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
