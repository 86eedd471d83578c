"""Named queries on the shared configuration tables; they return records and never write."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import RowMapping, Select, select

from reporthub_dagster.db import rows
from reporthub_dagster.db.models import (
    Base,
    ReportConfig,
    ReportDatasource,
    ReportDelivery,
    ReportDeliveryRecipient,
    ReportSchedule,
)
from reporthub_dagster.db.session import Hub
from reporthub_dagster.reporting import records
from reporthub_dagster.reporting.errors import MissingRowError


@dataclass(frozen=True, slots=True)
class AboutReport:
    """A report's name, and who may want to hear of it.

    Attributes:
        notify: Whatever `parameters.notify` holds.
    """

    name: str
    notify: Any
    created_by: str | None


class Repository:
    """What people configured."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def require(self, *, config_id: int, schedule_id: int | None) -> None:
        """Make sure that a report and a schedule are there, whatever their rows hold.

        Raises:
            ConfigurationError: One of them is not.
        """
        self._row(ReportConfig, config_id)
        if schedule_id is not None:
            self._row(ReportSchedule, schedule_id)

    def data_source(self, source_id: int) -> records.DataSource:
        """A data source, active or not.

        Raises:
            ConfigurationError: There is none of this id, or its row is broken.
        """
        return rows.data_source(self._row(ReportDatasource, source_id))

    def report_config(self, config_id: int) -> records.ReportConfig:
        """A report, active or not.

        Raises:
            ConfigurationError: There is none of this id, or its row is broken.
        """
        return rows.report_config(self._row(ReportConfig, config_id))

    def about_report(self, config_id: int) -> AboutReport:
        """What people are told of a report, however broken its row is otherwise.

        Raises:
            ConfigurationError: There is none of this id.
        """
        row = self._row(ReportConfig, config_id)
        parameters = row["parameters"] if isinstance(row["parameters"], Mapping) else {}
        return AboutReport(row["report_name"], parameters.get("notify"), row["created_by"])

    def schedule(self, schedule_id: int) -> records.Schedule:
        """A schedule, active or not.

        Raises:
            ConfigurationError: There is none of this id.
        """
        return rows.schedule(self._row(ReportSchedule, schedule_id), self._hub.zone)

    def delivery(self, delivery_id: int) -> records.Delivery:
        """A delivery, active or not, with its active recipients.

        Raises:
            ConfigurationError: There is none of this id, or a row is broken.
        """
        row = self._row(ReportDelivery, delivery_id)
        return rows.delivery(row, self._recipients([row["id"]])[row["id"]])

    def active_delivery_ids(self, config_id: int) -> tuple[int, ...]:
        """Ids of a report's active deliveries, in order."""
        query = select(ReportDelivery.id).where(
            ReportDelivery.config_id == config_id, ReportDelivery.is_active
        )
        with self._hub.begin() as connection:
            return tuple(connection.scalars(query.order_by(ReportDelivery.id)))

    def active_methods(self, config_id: int) -> frozenset[str]:
        """The methods of a report's active deliveries."""
        query = select(ReportDelivery.method).where(
            ReportDelivery.config_id == config_id, ReportDelivery.is_active
        )
        with self._hub.begin() as connection:
            return frozenset(method.strip().lower() for method in connection.scalars(query))

    def active_schedules(self, config_id: int) -> tuple[records.Schedule, ...]:
        """A report's active schedules, in order."""
        model = ReportSchedule
        query = _select(model).where(model.config_id == config_id, model.is_active).order_by(model.id)
        return tuple(rows.schedule(row, self._hub.zone) for row in self._rows(query))

    def active_reports(self) -> dict[int, str]:
        """Id and name of every active report, in order."""
        query = select(ReportConfig.id, ReportConfig.report_name).where(ReportConfig.is_active)
        with self._hub.begin() as connection:
            return {row.id: row.report_name for row in connection.execute(query.order_by(ReportConfig.id))}

    def active_ids(self, model: type[Base]) -> tuple[int, ...]:
        """Ids of every active row of a table, in order."""
        columns = model.__table__.c
        with self._hub.begin() as connection:
            return tuple(connection.scalars(select(columns.id).where(columns.is_active).order_by(columns.id)))

    def _row(self, model: type[Base], row_id: int) -> RowMapping:
        found = self._rows(_select(model).where(model.__table__.c.id == row_id))
        if not found:
            raise MissingRowError("there is no such row", table=model.__tablename__, row=row_id, column="id")
        return found[0]

    def _recipients(self, delivery_ids: Sequence[int]) -> dict[int, tuple[records.Recipient, ...]]:
        model = ReportDeliveryRecipient
        query = _select(model).where(model.delivery_id.in_(delivery_ids), model.is_active).order_by(model.id)
        grouped: dict[int, tuple[records.Recipient, ...]] = defaultdict(tuple)
        for row in self._rows(query):
            grouped[row["delivery_id"]] += (rows.recipient(row),)
        return grouped

    def _rows(self, query: Select[Any]) -> Sequence[RowMapping]:
        with self._hub.begin() as connection:
            return connection.execute(query).mappings().all()


def _select(model: type[Base]) -> Select[Any]:
    """The columns we know, by name: columns that we do not know stay where they are."""
    return select(*model.__table__.columns)
