"""What `reporthub check` finds: every active row tried as a run would use it, one finding a fault."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from reporthub_dagster.conditions import check_condition
from reporthub_dagster.connectors.registry import CONNECTORS
from reporthub_dagster.db.models import ReportConfig, ReportDatasource, ReportDelivery, ReportSchedule
from reporthub_dagster.db.repository import Repository
from reporthub_dagster.delivery_task import parcel_variables
from reporthub_dagster.destinations.base import Destination, Parcel
from reporthub_dagster.destinations.environment import DestinationSettings
from reporthub_dagster.destinations.registry import DESTINATIONS
from reporthub_dagster.joining import prepare_sources, report_connector
from reporthub_dagster.notice_mail import audience
from reporthub_dagster.planning import (
    ReportRequest,
    bound_query,
    connector_for,
    destination_for,
    located,
    plan_report,
)
from reporthub_dagster.renderers.registry import RENDERERS
from reporthub_dagster.rendering import plan_files
from reporthub_dagster.reporting.errors import ConfigurationError, ReportHubError
from reporthub_dagster.reporting.records import ReportPlan
from reporthub_dagster.reporting.redaction import redact
from reporthub_dagster.reporting.schedule import Cron
from reporthub_dagster.reporting.schedule_policy import SchedulePolicy, parse_policy
from reporthub_dagster.shaping import check_script
from reporthub_dagster.storage.execution_folder import ExecutionFolder

CONNECT_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault or a remark.

    Attributes:
        severity: `error` stops a report; `warning` is tolerated unless REPORTHUB_STRICT.
    """

    severity: str
    text: str


@dataclass(frozen=True, slots=True)
class Checker:
    """Tries every active row.

    Attributes:
        say: Receives what is being tried, one line each.
    """

    repository: Repository
    settings: DestinationSettings
    default_timezone: str
    now: datetime
    say: Callable[[str], None]

    def findings(self) -> Iterator[Finding]:
        """Every fault of every active row, once for all who meet it; a faulty row hides no other."""
        told = set()
        for finding in self._findings():
            if finding not in told:
                told.add(finding)
                yield finding

    def _findings(self) -> Iterator[Finding]:
        for family in (CONNECTORS, RENDERERS, DESTINATIONS):
            for sentence in family.passed_over():
                yield Finding("warning", sentence)
        for table, model, check in (
            ("report_datasources", ReportDatasource, self._data_source),
            ("report_configs", ReportConfig, self._config),
            ("report_schedules", ReportSchedule, self._schedule),
            ("report_deliveries", ReportDelivery, self._delivery),
        ):
            for row in self.repository.active_ids(model):
                self.say(f"{table} {row}")
                try:
                    with located(table, row):
                        yield from check(row)
                except ReportHubError as error:
                    text = str(error)
                    yield Finding("error", text if text.startswith("report_") else f"{table} {row}: {text}")
                except Exception as error:  # noqa: BLE001 - a row that nobody foresaw hides no other
                    words = redact(f"{type(error).__name__}: {error}")
                    yield Finding("error", f"{table} {row}: internal error, please report it: {words}")

    def _data_source(self, row: int) -> Iterator[Finding]:
        connector = connector_for(self.repository.data_source(row))
        for warning in connector.warnings:
            yield Finding("warning", warning)
        connector.check(CONNECT_SECONDS)

    def _config(self, row: int) -> Iterator[Finding]:
        plan = self._plan(row)
        prepare_sources(plan, self.repository)
        connector = report_connector(plan, self.repository, ExecutionFolder(Path()))
        for query in plan.queries:
            bound_query(plan, query, connector)
        check_condition(plan, connector.dialect)
        remark = check_script(plan)
        about = self.repository.about_report(row)
        audience(row, about.notify, about.created_by, None)
        for warning in (*plan.warnings, *([remark] if remark else []), *plan_files(plan).warnings):
            yield Finding("warning", f"report_configs {row}: {warning}")

    def _plan(self, config_id: int) -> ReportPlan:
        return plan_report(
            self.repository,
            ReportRequest(config_id),
            execution_id="check",
            now=self.now,
            default_timezone=self.default_timezone,
        )

    def _schedule(self, row: int) -> Iterator[Finding]:
        schedule = self.repository.schedule(row)
        Cron.parse(schedule.cron_expression, schedule.timezone)
        config = self.repository.report_config(schedule.config_id)
        parse_policy(config.id, config.parameters, SchedulePolicy())
        yield from ()

    def _delivery(self, row: int) -> Iterator[Finding]:
        delivery = self.repository.delivery(row)
        destination = destination_for(delivery, self.settings)
        for warning in (*destination.warnings, *self._unknown_variables(destination)):
            yield Finding("warning", warning)
        for problem in destination.problems():
            yield Finding("error", str(problem))
        destination.check()

    def _unknown_variables(self, destination: Destination) -> tuple[str, ...]:
        try:
            plan = self._plan(destination.delivery.config_id)
        except ConfigurationError:
            return ()  # its own row reports it
        return destination.unknown_variables(Parcel("check", (), parcel_variables(plan)))
