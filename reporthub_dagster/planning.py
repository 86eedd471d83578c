"""From rows to a plan: which report, which window, which query — with every row checked on the way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from reporthub_dagster.audience import require_deliverable
from reporthub_dagster.connectors.registry import CONNECTORS
from reporthub_dagster.db.repository import Repository
from reporthub_dagster.destinations.base import Destination
from reporthub_dagster.destinations.environment import DestinationSettings
from reporthub_dagster.destinations.registry import DESTINATIONS
from reporthub_dagster.renderers.options import read_options
from reporthub_dagster.renderers.registry import RENDERERS
from reporthub_dagster.reporting.bound_query import BoundQuery
from reporthub_dagster.reporting.errors import ConfigurationError, MissingRowError, ReportHubError
from reporthub_dagster.reporting.plan import make_plan, prepare_query
from reporthub_dagster.reporting.records import (
    DataSource,
    Deliver,
    Delivery,
    ReportConfig,
    ReportPlan,
    ReportQuery,
    Schedule,
    TimeWindow,
)
from reporthub_dagster.reporting.schedule import zone_of
from reporthub_dagster.reporting.time_window import decide_window, parse_instant
from reporthub_dagster.settings import Settings
from reporthub_dagster.sourcing import source_settings

if TYPE_CHECKING:
    from reporthub_dagster.connectors.base import Connector
    from reporthub_dagster.renderers.base import Renderer


@dataclass(frozen=True, slots=True)
class ReportRequest:
    """What somebody asked for.

    Attributes:
        start: Text of the window's start in the schedule's zone, or empty.
        end: As `start`.
        window: The window that an earlier attempt decided; it is used as it stands.
        slot: The due slot that it is for: the window ends there, however late the run starts.
        follows: End of the window before this one, where that run may not be over; else `last_run_at` says.
    """

    config_id: int
    schedule_id: int | None = None
    start: str = ""
    end: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    deliver: Deliver = "all"
    executed_by: str = "dagster"
    window: TimeWindow | None = None
    slot: datetime | None = None
    follows: datetime | None = None


def plan_report(
    repository: Repository,
    request: ReportRequest,
    *,
    execution_id: str,
    now: datetime,
    default_timezone: str,
) -> ReportPlan:
    """Decide everything about one execution before anything runs.

    Raises:
        ConfigurationError: A row is missing, inactive or wrong, or the request does not fit it.
    """
    config = active_config(repository, request.config_id)
    active_source(repository, config)
    schedule = _schedule_of(repository, request)
    window = request.window or _window(request, schedule, now, default_timezone)
    plan = make_plan(
        execution_id=execution_id,
        config=config,
        schedule_id=request.schedule_id,
        window=window,
        overrides=request.parameters,
        deliver=request.deliver,
        executed_by=request.executed_by,
    )
    renderers_of(plan)
    with located("report_configs", config.id):
        read_options(plan.parameters.get("format") or {})
    require_deliverable(request.deliver, repository, config.id)
    return plan


def active_config(repository: Repository, config_id: int) -> ReportConfig:
    """A report that may run.

    Raises:
        ConfigurationError: It does not exist, is inactive, or its row is broken.
    """
    config = repository.report_config(config_id)
    _require_active(config.is_active, "report_configs", config.id)
    return config


def active_source(repository: Repository, config: ReportConfig) -> DataSource:
    """The data source of a report, if it may be used.

    Raises:
        ConfigurationError: It does not exist, is inactive, or its row is broken.
    """
    return usable_source(repository, config.datasource_id, config.id, "datasource_id")


def usable_source(repository: Repository, row: int, config_id: int, column: str) -> DataSource:
    """A data source that a report names, if it may be used.

    Args:
        repository: Where it is.
        row: Its id.
        config_id: The report.
        column: Where the report names it.

    Raises:
        ConfigurationError: It does not exist, is inactive, or its row is broken.
    """
    try:
        source = repository.data_source(row)
    except MissingRowError:
        raise ConfigurationError(
            "there is no such row of report_datasources",
            table="report_configs",
            row=config_id,
            column=column,
            value=row,
            valid="give the id of one",
        ) from None
    _require_active(source.is_active, "report_datasources", source.id)
    return source


def connector_for(source: DataSource) -> Connector:
    """The connector of a data source.

    Raises:
        ConfigurationError: There is none of its kind, or its row is broken.
    """
    kind = CONNECTORS.get(source.kind, row=source.id, column=source.kind_column)
    return kind(source, source_settings(Settings.load()))


def bound_query(plan: ReportPlan, query: ReportQuery, connector: Connector) -> BoundQuery:
    """A query of a plan as its data source gets it; an empty one means what the kind says.

    Raises:
        ConfigurationError: As `prepare_query`.
    """
    if not query.sql.strip():
        query = replace(query, sql=connector.default_query)
    return prepare_query(plan, query, connector.dialect)


def renderers_of(plan: ReportPlan) -> tuple[type[Renderer], ...]:
    """The renderers of a plan's formats, in their order.

    Raises:
        ConfigurationError: There is none of a format; names it.
    """
    listed = plan.parameters.get("formats") is not None
    return tuple(
        RENDERERS.get(name, row=plan.config_id, column=f"parameters.formats[{number}]" if listed else None)
        for number, name in enumerate(plan.formats)
    )


def destination_for(delivery: Delivery, settings: DestinationSettings) -> Destination:
    """The destination of a delivery.

    Raises:
        ConfigurationError: There is none of its method, or its row is broken.
    """
    kind = DESTINATIONS.get(delivery.method, row=delivery.id, column=delivery.method_column)
    return kind(delivery, settings)


@contextmanager
def located(table: str, row: int, column: str | None = None) -> Iterator[None]:
    """Name the row in configuration errors that do not name one yet."""
    try:
        yield
    except ConfigurationError as error:
        raise error.located(table=table, row=row, column=column) from None


@contextmanager
def at_query(config_id: int, place: str) -> Iterator[None]:
    """Name where a query stands in errors about it; connectors know one place, `report_query`."""
    try:
        yield
    except ConfigurationError as error:
        if error.column == "report_query":
            error = ConfigurationError(error.problem, value=error.value, valid=error.valid)
        raise error.located(table="report_configs", row=config_id, column=place) from None


def instant_of(text: str, column: str, timezone: str) -> datetime:
    """The instant that a launch means; see `parse_instant`.

    Raises:
        ConfigurationError: As there; names the field of the launch.
    """
    try:
        return parse_instant(text, timezone)
    except ConfigurationError as error:
        raise error.located(column=column) from None


def _schedule_of(repository: Repository, request: ReportRequest) -> Schedule | None:
    if request.schedule_id is None:
        return None
    schedule = repository.schedule(request.schedule_id)
    if schedule.config_id != request.config_id:
        raise ConfigurationError(
            f"the schedule belongs to another report, not to report_configs {request.config_id}",
            table="report_schedules",
            row=schedule.id,
            column="config_id",
            value=schedule.config_id,
        )
    _require_active(schedule.is_active, "report_schedules", schedule.id)
    return schedule


def _window(
    request: ReportRequest, schedule: Schedule | None, now: datetime, default_timezone: str
) -> TimeWindow:
    timezone = schedule.timezone if schedule else default_timezone
    place = partial(located, "report_schedules", schedule.id) if schedule else nullcontext
    with place():
        zone_of(timezone)
    start = instant_of(request.start, "start", timezone) if request.start else None
    end = instant_of(request.end, "end", timezone) if request.end else None
    with place():
        return decide_window(
            now=now,
            schedule=replace(schedule, last_run_at=request.follows)
            if schedule and request.follows
            else schedule,
            slot=request.slot,
            start=start,
            end=end,
            default_timezone=default_timezone,
        )


def _require_active(is_active: bool, table: str, row: int) -> None:
    if not is_active:
        raise ConfigurationError(
            "the row is not active",
            table=table,
            row=row,
            column="is_active",
            value=is_active,
            valid="set is_active = 1 to use it",
        )


def require_recipient(
    recipient: str, repository: Repository, config_id: int, settings: DestinationSettings, *, column: str
) -> None:
    """Make sure that an active delivery reaches a recipient.

    Raises:
        ConfigurationError: None does; names everybody whom one reaches, and why others reach nobody.
    """
    known: list[str] = []
    unusable: list[str] = []
    for delivery_id in repository.active_delivery_ids(config_id):
        try:
            known += destination_for(repository.delivery(delivery_id), settings).recipients()
        except ReportHubError as error:
            unusable.append(str(error))
    if recipient.casefold() not in map(str.casefold, known):
        why = f"; a delivery cannot be used: {'; '.join(unusable)}" if unusable else ""
        raise ConfigurationError(
            f"no active delivery of report_configs {config_id} has this recipient",
            column=column,
            value=recipient,
            valid=f"valid: {', '.join(dict.fromkeys(known))}{why}",
        )
