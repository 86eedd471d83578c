"""The reports as Dagster's catalog has them: their keys, what was made of them last, what their rows say."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import Connection, RowMapping, select, update

from reporthub_dagster.db import rows
from reporthub_dagster.db.inserting import chunks, insert_many_new
from reporthub_dagster.db.ledger import CatalogEntry
from reporthub_dagster.db.models import Base, ReportConfig, ReportDatasource, ReportDelivery, ReportSchedule
from reporthub_dagster.db.session import Hub
from reporthub_dagster.reporting import records
from reporthub_dagster.reporting.backfill import config_key
from reporthub_dagster.reporting.errors import ConfigurationError
from reporthub_dagster.reporting.report_checks import COMPARED

T = TypeVar("T")
OnProblem = Callable[[ConfigurationError], object]


@dataclass(frozen=True, slots=True)
class Entry:
    """What the catalog holds of a report.

    Attributes:
        key: The report's own part of its asset key.
        row_counts: Execution and rows of what was made last, the newest first.
    """

    key: str
    row_counts: tuple[tuple[str, int], ...] = ()

    def others(self, execution_id: str) -> list[tuple[str, int]]:
        """The counts of other executions than this."""
        return [one for one in self.row_counts if one[0] != execution_id]


@dataclass(frozen=True, slots=True)
class CatalogReport:
    """An active report.

    Attributes:
        key: The report's own part of its asset key.
        deliveries: Name and method of its active deliveries.
    """

    key: str
    config: records.ReportConfig
    source: records.DataSource
    schedules: tuple[records.Schedule, ...]
    deliveries: tuple[tuple[str, str], ...]


class Catalog:
    """The catalog's part of the shared database."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def keys(self, reports: Mapping[int, str]) -> dict[int, str]:
        """The key of each report, made of its first name and kept when it gets another.

        Args:
            reports: Id and name, in the order of the answer.
        """
        present = self._keys()
        missing = {config_id: name for config_id, name in reports.items() if config_id not in present}
        if missing:
            self._add(missing)
            present = self._keys()
        return {config_id: present[config_id] for config_id in reports}

    def entry(self, config_id: int) -> Entry:
        """What the catalog holds of a report; its key is made of its name if it has none yet."""
        found = self._find(config_id)
        if found is None:
            with self._hub.begin() as connection:
                query = select(ReportConfig.report_name).where(ReportConfig.id == config_id)
                name = connection.scalar(query) or ""
            self._add({config_id: name})
            found = self._find(config_id)
        return found or Entry(str(config_id))

    def made(self, config_id: int, execution_id: str, row_count: int) -> str:
        """Remember how many rows an execution had; returns the report's key."""
        entry = self.entry(config_id)
        # One more than are compared: the execution that is judged may be among them.
        counts = [(execution_id, row_count), *entry.others(execution_id)][: COMPARED + 1]
        with self._hub.begin() as connection:
            mine = CatalogEntry.config_id == config_id
            connection.execute(update(CatalogEntry).where(mine).values(row_counts=counts))
        return entry.key

    def reports(self, on_problem: OnProblem) -> tuple[CatalogReport, ...]:
        """The active reports whose rows can be read, in order: five statements, however many there are.

        Args:
            on_problem: Receives the error of each row that cannot be.
        """
        with self._hub.begin() as connection:
            sources = {row["id"]: row for row in _active(connection, ReportDatasource)}
            configs = _active(connection, ReportConfig)
            schedules = _by_config(_active(connection, ReportSchedule))
            deliveries = _by_config(_active(connection, ReportDelivery))
        keys = self._keys()

        def report(row: RowMapping) -> CatalogReport:
            config = rows.report_config(row)
            return CatalogReport(
                keys.get(config.id) or config_key(config.id, config.name),
                config,
                rows.data_source(sources[config.datasource_id]),
                tuple(rows.schedule(one, self._hub.zone) for one in schedules[config.id]),
                tuple((one["delivery_name"], one["method"]) for one in deliveries[config.id]),
            )

        known = [row for row in configs if row["datasource_id"] in sources]
        return tuple(_readable(known, report, on_problem))

    def _keys(self) -> dict[int, str]:
        with self._hub.begin() as connection:
            found = connection.execute(select(CatalogEntry.config_id, CatalogEntry.asset_key))
            return {row.config_id: row.asset_key for row in found}

    def _find(self, config_id: int) -> Entry | None:
        query = select(CatalogEntry.asset_key, CatalogEntry.row_counts)
        with self._hub.begin() as connection:
            row = connection.execute(query.where(CatalogEntry.config_id == config_id)).one_or_none()
        if row is None:
            return None
        counts = row.row_counts if isinstance(row.row_counts, list) else []
        return Entry(row.asset_key, tuple((execution_id, count) for execution_id, count in counts))

    def _add(self, reports: Mapping[int, str]) -> None:
        """In a transaction of its own: one that has looked already would not see who was faster."""
        new = [{"config_id": key, "asset_key": config_key(key, name)} for key, name in reports.items()]
        with self._hub.begin() as connection:
            for portion in chunks(new):
                insert_many_new(connection, CatalogEntry, portion)


def _readable(
    found: Sequence[RowMapping], read: Callable[[RowMapping], T], on_problem: OnProblem
) -> Iterator[T]:
    for row in found:
        try:
            yield read(row)
        except ConfigurationError as error:
            on_problem(error)


def _active(connection: Connection, model: type[Base]) -> Sequence[RowMapping]:
    columns = model.__table__.columns
    query = select(*columns).where(columns.is_active).order_by(columns.id)
    return connection.execute(query).mappings().all()


def _by_config(found: Sequence[RowMapping]) -> dict[int, list[RowMapping]]:
    grouped: dict[int, list[RowMapping]] = defaultdict(list)
    for row in found:
        grouped[row["config_id"]].append(row)
    return grouped
