"""The sensor that runs the reaper, and tells it what became of runs, as Dagster knows it."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import dagster as dg
from dagster import DagsterEventType, DagsterRunStatus

from reporthub_dagster import asset_events
from reporthub_dagster.attempt import DATABASE_ERRORS, environment_secrets, tell
from reporthub_dagster.db import leases as lease_times
from reporthub_dagster.db.leases import Leases
from reporthub_dagster.db.retention import Retention
from reporthub_dagster.db.schedulers import Schedulers
from reporthub_dagster.jobs import execute_report
from reporthub_dagster.mailing import destination_settings
from reporthub_dagster.notices import tell_late
from reporthub_dagster.reaping import EndedRun, Fate, FateKind, Reaper, Verdict, gone_runs
from reporthub_dagster.reporting.redaction import redact
from reporthub_dagster.resources import HubDatabase
from reporthub_dagster.run_config import EXECUTION_TAG, GIVEN_BACK_TAG
from reporthub_dagster.settings import Settings
from reporthub_dagster.status import REAPER_SENSOR

REAPER_SECONDS = 15
_ENDED = {DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED}
_AT_ONCE = 500
_OVERLAP = timedelta(seconds=5)
_FIRST_LOOK = timedelta(days=1)
_REASON = "dagster/failure_reason"
_OWN_END = {"STEP_FAILURE", "RUN_EXCEPTION", "JOB_INITIALIZATION_FAILURE", "START_TIMEOUT"}
_NOT_OF_OURS = {"", "RUN_EXCEPTION", "STEP_FAILURE"}
"""Where Dagster's database may have been the reason: it also writes within steps, before and after an op."""
_INTERRUPTED = "UNEXPECTED_TERMINATION"
"""How Dagster calls Ctrl-C and a signal that nobody sent through Dagster."""


@dg.sensor(
    name=REAPER_SENSOR,
    description="Closes or requeues executions that a dead run left open; asks for no runs itself.",
    minimum_interval_seconds=REAPER_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def execution_reaper_sensor(context: dg.SensorEvaluationContext, hub: HubDatabase) -> dg.SensorResult:
    """One tick of the reaper."""
    instance, settings = context.instance, Settings.load()
    reaper = Reaper(hub.leases, settings.crash_retries, lambda ids: fates(instance, ids))
    now = hub.hub.now()
    ended, cursor = ended_runs(instance, context.cursor, now)
    verdicts = [*reaper.reap(now), *reaper.close_unclaimed(ended, now)]
    for verdict in verdicts:
        context.log.warning(f"execution {verdict.execution_id}: {verdict.status}: {verdict.reason}")
        if verdict.status == "failed":
            tell(hub, verdict.execution_id, context.log.info)
            asset_events.report(instance, hub, verdict.execution_id, context.log.warning)
        tell_dagster(instance, verdict)
    end_gone_runs(instance, hub.leases, now, context.log.warning)
    tell_late(hub.hub, destination_settings(settings), now, context.log.info)
    Retention(hub.hub, timedelta(days=settings.keep_days)).forget(now)
    counts = Counter(verdict.status for verdict in verdicts)
    message = f"{len(verdicts):,} {'execution' if len(verdicts) == 1 else 'executions'} settled"
    if counts:
        message += ": " + ", ".join(f"{count:,} {status}" for status, count in sorted(counts.items()))
    Schedulers(hub.hub).ticked(settings.scheduler_name, REAPER_SENSOR, message)
    return dg.SensorResult(cursor=cursor, skip_reason=message)


def tell_dagster(instance: dg.DagsterInstance, verdict: Verdict) -> None:
    """End a run whose process is gone in Dagster, too: of kill -9 it never learns by itself."""
    run = instance.get_run_by_id(verdict.gone_run) if verdict.gone_run else None
    if run is None or run.is_finished:
        return
    if verdict.status == "cancelled":
        instance.report_run_canceled(run, verdict.reason)
    else:
        instance.report_run_failed(run, f"{verdict.reason}: its lease ran out")


def end_gone_runs(
    instance: dg.DagsterInstance, leases: Leases, now: datetime, say: Callable[[str], object]
) -> None:
    """End runs in Dagster that have nothing to do any more: each would keep another one from starting."""
    before = now - timedelta(seconds=lease_times.LEASE_SECONDS)
    filters = dg.RunsFilter(statuses=[DagsterRunStatus.STARTED], updated_before=before)
    runs = {run.run_id: run for run in instance.get_runs(filters, limit=_AT_ONCE) if _is_of_report(run)}
    begun = {run_id: execution_id_of(run) for run_id, run in runs.items()}
    for run_id, reason in (gone_runs(begun, leases.holds(begun.values())) if begun else {}).items():
        say(f"run {run_id}: {reason}")
        instance.report_run_failed(runs[run_id], reason)


def _is_of_report(run: dg.DagsterRun) -> bool:
    """Whether a run is known to be about an execution; one of a partition says so when it has its claim."""
    return run.job_name == execute_report.name or EXECUTION_TAG in run.tags


def fates(instance: dg.DagsterInstance, run_ids: Sequence[str]) -> dict[str, Fate]:
    """What became of runs; those that this instance does not have are left out."""
    if not run_ids:
        return {}
    runs = instance.get_runs(dg.RunsFilter(run_ids=list(run_ids)))
    return {run.run_id: fate_of(instance, run) for run in runs}


def fate_of(instance: dg.DagsterInstance, run: dg.DagsterRun) -> Fate:
    """What became of a run; one that was found dead from outside has crashed, it did not fail."""
    if run.status == DagsterRunStatus.SUCCESS:
        return Fate("succeeded")
    if run.status == DagsterRunStatus.CANCELED:
        return Fate("cancelled")
    if run.status == DagsterRunStatus.CANCELING:
        return Fate("stopping")
    if run.status != DagsterRunStatus.FAILURE:
        return Fate("at work")
    reason = run.tags.get(_REASON, "")
    kind: FateKind = "failed" if reason in _OWN_END else "crashed"
    if GIVEN_BACK_TAG in run.tags:
        kind = "given back"
    elif reason == _INTERRUPTED:
        kind = "cancelled"
    elif reason in _NOT_OF_OURS and _has_lost_its_database(instance, run.run_id, reason):
        kind = "cut off"
    return Fate(kind, _error_of(instance, run.run_id))


def _has_lost_its_database(instance: dg.DagsterInstance, run_id: str, reason: str) -> bool:
    """Whether Dagster could not launch or go on with a run because its own database did not answer.

    An op of ours fails with `dg.Failure` and no cause, whatever database it was.
    """
    kinds = {DagsterEventType.STEP_FAILURE, DagsterEventType.RUN_FAILURE}
    if not reason:
        kinds.add(DagsterEventType.ENGINE_EVENT)
    for record in instance.get_records_for_run(run_id, of_type=kinds, limit=20, ascending=False).records:
        event = record.event_log_entry.dagster_event
        error = getattr(event.event_specific_data, "error", None) if event else None
        while error is not None:
            if error.cls_name in DATABASE_ERRORS:
                return True
            error = error.cause
    return False


def ended_runs(
    instance: dg.DagsterInstance, cursor: str | None, now: datetime
) -> tuple[dict[str, EndedRun], str | None]:
    """Execution id → its run that failed or was cancelled since the cursor; and the next cursor."""
    after = datetime.fromisoformat(cursor) if cursor else now - _FIRST_LOOK
    statuses = [DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED]
    records = instance.get_run_records(
        dg.RunsFilter(job_name=execute_report.name, statuses=statuses, updated_after=after),
        limit=_AT_ONCE,
        order_by="update_timestamp",
        ascending=True,
    )
    if not records:
        return {}, cursor
    runs = {execution_id_of(record.dagster_run): record.dagster_run.run_id for record in records}
    waiting = instance.get_runs(
        dg.RunsFilter(
            statuses=[status for status in DagsterRunStatus if status not in _ENDED],
            tags={EXECUTION_TAG: list(runs)},
        )
    )
    others: dict[str, set[str]] = defaultdict(set)
    for run in waiting:
        others[run.tags[EXECUTION_TAG]].add(run.run_id)
    last = records[-1].update_timestamp
    # Runs that end in the same moment are not passed over, unless that moment alone fills the page.
    upto = last if len(records) == _AT_ONCE else last - _OVERLAP
    ended = {key: EndedRun(run_id, frozenset(others[key])) for key, run_id in runs.items()}
    return ended, max(upto, after).isoformat()


def execution_id_of(run: dg.DagsterRun) -> str:
    """The execution that a run was launched for, also where it ended before it could say so."""
    config: Any = run.run_config
    for key in ("ops", "compute_time_range", "config", "execution_id"):
        config = config.get(key) if isinstance(config, Mapping) else None
    return str(run.tags.get(EXECUTION_TAG) or config or run.root_run_id or run.run_id)


def _error_of(instance: dg.DagsterInstance, run_id: str) -> str:
    """The first words of why a run failed: of the step, else of the run; redacted, in one line."""
    kinds = {DagsterEventType.STEP_FAILURE, DagsterEventType.RUN_FAILURE}
    texts: list[str] = []
    for record in instance.get_records_for_run(run_id, of_type=kinds, limit=20).records:
        event = record.event_log_entry.dagster_event
        if event is None:
            continue
        data: Any = event.event_specific_data
        error = getattr(data, "error", None)
        said = getattr(data, "user_failure_data", None)
        words = said.description if said else (error.cause or error).message if error else event.message
        texts.append(re.sub(r"^[\w.]*(Error|Exception): ", "", str(words or "")).strip())
    first = next((text for text in texts if text), "")
    return redact(" ".join(first.split()), environment_secrets())
