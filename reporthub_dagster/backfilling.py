"""Backfills of slots: a report's windows of the past, as its schedule cuts them, become queued executions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from reporthub_dagster.audience import parse_deliver, require_deliverable
from reporthub_dagster.db.backfills import BackfillItem, Backfills
from reporthub_dagster.db.leases import LAUNCH
from reporthub_dagster.db.queue import ExecutionQueue
from reporthub_dagster.db.repository import Repository
from reporthub_dagster.db.session import Hub
from reporthub_dagster.planning import active_config, active_source, instant_of, located
from reporthub_dagster.reporting.backfill import EVERY_DAY, backfill_execution_id, day_windows, slot_windows
from reporthub_dagster.reporting.errors import ConfigurationError
from reporthub_dagster.reporting.kept_window import window_to_json
from reporthub_dagster.reporting.records import Schedule, TimeWindow
from reporthub_dagster.reporting.schedule import zone_of
from reporthub_dagster.reporting.slots import scheduled_execution_id


@dataclass(frozen=True, slots=True)
class BackfillRequest:
    """What somebody wants of the past.

    Attributes:
        id: Of the backfill: with the same one nothing is queued twice.
        schedule_id: Whose cron cuts the windows; None: the report's only active one, else days.
        start: First moment of the time whose slots are wanted, in the schedule's zone.
        end: First moment after it; empty: now.
        only_missing: Leave out slots whose report was made, or is being made.
    """

    id: str
    config_id: int
    start: str
    end: str = ""
    schedule_id: int | None = None
    deliver: str = "none"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    only_missing: bool = False
    executed_by: str = "backfill"


@dataclass(frozen=True, slots=True)
class BackfillPlan:
    """The windows of a backfill.

    Attributes:
        wanted: Those to fill, oldest first.
        left_out: How many are filled already.
    """

    request: BackfillRequest
    wanted: tuple[TimeWindow, ...]
    left_out: int


def plan_backfill(
    hub: Hub, request: BackfillRequest, *, now: datetime, default_timezone: str
) -> BackfillPlan:
    """Decide which windows a backfill fills; writes nothing.

    Raises:
        ConfigurationError: The report or its data source is not active, the request does not fit them, or
            the time has no slot.
    """
    repository = Repository(hub)
    active_source(repository, active_config(repository, request.config_id))
    require_deliverable(parse_deliver(request.deliver, request.executed_by), repository, request.config_id)
    schedule = _schedule(repository, request, default_timezone)
    place = (
        partial(located, "report_schedules", schedule.id)
        if schedule.id
        else partial(located, "report_configs", request.config_id)
    )
    with place():
        zone_of(schedule.timezone)
    first = instant_of(request.start, "start", schedule.timezone)
    until = instant_of(request.end, "end", schedule.timezone) if request.end else now
    with place():
        until = min(until, now)
        windows = tuple(
            slot_windows(schedule, first, until)
            if schedule.id
            else day_windows(schedule.timezone, first, until)
        )
    if not windows:
        raise ConfigurationError(
            f"no slot of {schedule.cron_expression} {schedule.timezone} in this time has passed",
            column="start",
            value=f"{request.start} to {request.end or 'now'}",
            valid="give a start that is before the end, in the past",
        )
    wanted = _missing(hub, request, schedule, windows) if request.only_missing else windows
    return BackfillPlan(request, wanted, len(windows) - len(wanted))


def queue_backfill(hub: Hub, plan: BackfillPlan, now: datetime) -> int:
    """Queue an execution for each window; returns how many are new.

    Raises:
        ConfigurationError: The status column of an old installation has no word for what waits.
    """
    if ExecutionQueue(hub).waiting_status != "queued":
        raise ConfigurationError(
            "backfills wait in status queued, which this column does not have",
            table="report_executions",
            column="status",
            valid="add 'queued' to the enum, or backfill dates of the asset report_file",
        )
    request = plan.request
    items = [_item(request, window) for window in plan.wanted]
    return Backfills(hub).queue(request.id, request.config_id, items, by=request.executed_by, now=now)


def zone_of_days(repository: Repository, config_id: int, default_timezone: str) -> str:
    """In which zone a report's days begin: its first active schedule's, else the default."""
    schedules = repository.active_schedules(config_id)
    return schedules[0].timezone if schedules else default_timezone


def _schedule(repository: Repository, request: BackfillRequest, default_timezone: str) -> Schedule:
    """Whose cron cuts the windows; id 0 where the report has no schedule."""
    active = list(repository.active_schedules(request.config_id))
    if request.schedule_id is not None:
        found = [schedule for schedule in active if schedule.id == request.schedule_id]
    else:
        found = active or [Schedule(0, request.config_id, EVERY_DAY, default_timezone, True, None, None)]
    if len(found) == 1:
        return found[0]
    ids = ", ".join(str(schedule.id) for schedule in active)
    raise ConfigurationError(
        "the report has several schedules" if found else "not an active schedule of the report",
        table="report_configs",
        row=request.config_id,
        column="schedule_id",
        value=request.schedule_id,
        valid=f"valid: {ids or 'none; it has no active schedule'}",
    )


def _missing(
    hub: Hub, request: BackfillRequest, schedule: Schedule, windows: tuple[TimeWindow, ...]
) -> tuple[TimeWindow, ...]:
    ids = {window.as_of: scheduled_execution_id(schedule.id, window.as_of) for window in windows}
    slots, executions = Backfills(hub).filled(request.config_id, list(ids.values()))
    return tuple(
        window for window in windows if window.as_of not in slots and ids[window.as_of] not in executions
    )


def _item(request: BackfillRequest, window: TimeWindow) -> BackfillItem:
    launch = {"start": "", "end": "", "parameters": dict(request.parameters), "deliver": request.deliver}
    context = {"time_range": window_to_json(window), "backfill": request.id, LAUNCH: launch}
    return BackfillItem(backfill_execution_id(request.id, request.config_id, window), window.as_of, context)
