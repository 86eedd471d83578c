"""Backfills: the executions that belong to one, how far they are, and cancelling those that wait."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, insert, select, update
from sqlalchemy.engine import Row

from reporthub_dagster.db import rows
from reporthub_dagster.db.executions import PERSON_LIMIT
from reporthub_dagster.db.inserting import chunks, insert_new
from reporthub_dagster.db.ledger import Backfill
from reporthub_dagster.db.models import ReportExecution
from reporthub_dagster.db.session import Hub

_ALIVE = ("queued", "running", "completed")


@dataclass(frozen=True, slots=True)
class BackfillItem:
    """One execution of a backfill, to be queued.

    Attributes:
        slot: When its window would have been due.
        context: What its `execution_context` begins with.
    """

    execution_id: str
    slot: datetime
    context: Mapping[str, Any]


class Backfills:
    """The backfills of the shared database."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def queue(
        self, backfill_id: str, config_id: int, items: Sequence[BackfillItem], *, by: str, now: datetime
    ) -> int:
        """Queue executions; those that the backfill has already stay as they are.

        Returns:
            How many are new.
        """
        new = 0
        for portion in chunks(items):
            with self._hub.begin() as connection:
                for item in portion:
                    key = {"backfill_id": backfill_id, "execution_id": item.execution_id}
                    values = {**key, "config_id": config_id, "slot": item.slot, "created_at": now}
                    if insert_new(connection, Backfill, values):
                        connection.execute(
                            insert(ReportExecution).values(self._row(config_id, item, by, now))
                        )
                        new += 1
        return new

    def filled(self, config_id: int, execution_ids: Sequence[str]) -> tuple[set[datetime], set[str]]:
        """What is done or under way: slots by any backfill of a report, and executions by their own id."""
        execution = ReportExecution
        slots = (
            select(Backfill.slot)
            .join(execution, execution.id == Backfill.execution_id)
            .where(Backfill.config_id == config_id, execution.status.in_(_ALIVE))
        )
        with self._hub.begin() as connection:
            found = set(connection.scalars(slots))
            ids = {
                one
                for portion in chunks(execution_ids)
                for one in connection.scalars(
                    select(execution.id).where(execution.id.in_(portion), execution.status.in_(_ALIVE))
                )
            }
        return found, ids

    def progress(self, backfill_id: str | None = None, limit: int = 20) -> list[Row[Any]]:
        """For each backfill and status: how many executions, rows and bytes; the latest backfills first."""
        execution = ReportExecution
        latest = (
            select(Backfill.backfill_id, func.max(Backfill.created_at).label("created_at"))
            .group_by(Backfill.backfill_id)
            .order_by(func.max(Backfill.created_at).desc(), Backfill.backfill_id)
            .limit(limit)
        )
        if backfill_id is not None:
            latest = latest.where(Backfill.backfill_id == backfill_id)
        wanted = latest.subquery()
        query: Any = (
            select(
                Backfill.backfill_id,
                Backfill.config_id,
                wanted.c.created_at,
                execution.status,
                func.count().label("executions"),
                func.min(Backfill.slot).label("first_slot"),
                func.max(Backfill.slot).label("last_slot"),
                func.coalesce(func.sum(execution.rows_returned), 0).label("rows"),
                func.coalesce(func.sum(execution.file_size_bytes), 0).label("bytes"),
            )
            .join(wanted, wanted.c.backfill_id == Backfill.backfill_id)
            .join(execution, execution.id == Backfill.execution_id)
            .group_by(Backfill.backfill_id, Backfill.config_id, wanted.c.created_at, execution.status)
            .order_by(wanted.c.created_at.desc(), Backfill.backfill_id, execution.status)
        )
        with self._hub.begin() as connection:
            return list(connection.execute(query).all())

    def failures(self, backfill_id: str, limit: int = 10) -> list[Row[Any]]:
        """The first executions of a backfill that failed, by their slots."""
        execution = ReportExecution
        query: Any = (
            select(Backfill.slot, execution.id, execution.error_message)
            .join(execution, execution.id == Backfill.execution_id)
            .where(Backfill.backfill_id == backfill_id, execution.status == "failed")
            .order_by(Backfill.slot)
            .limit(limit)
        )
        with self._hub.begin() as connection:
            return list(connection.execute(query).all())

    def cancel(self, backfill_id: str, now: datetime) -> tuple[int, list[str]]:
        """Cancel what waits; what runs is for Dagster to end.

        Returns:
            How many waited, and the executions that waited or run, whose runs are to be ended.
        """
        execution = ReportExecution
        own = select(Backfill.execution_id).where(Backfill.backfill_id == backfill_id)
        open_ones = select(execution.id).where(
            execution.id.in_(own), execution.status.in_(("queued", "running"))
        )
        values = {
            "status": "cancelled",
            "completed_at": rows.to_wall(now, self._hub.zone),
            "error_message": "cancelled by a person, with its backfill",
        }
        waiting = (execution.id.in_(own), execution.status == "queued")
        with self._hub.begin() as connection:
            ids = list(connection.scalars(open_ones))
            return connection.execute(update(execution).where(*waiting).values(values)).rowcount, ids

    def _row(self, config_id: int, item: BackfillItem, by: str, now: datetime) -> dict[str, Any]:
        return {
            "id": item.execution_id,
            "config_id": config_id,
            # Of no schedule: what is due must not wait for the past.
            "schedule_id": None,
            "status": "queued",
            "started_at": rows.to_wall(now, self._hub.zone),
            "executed_by": by[:PERSON_LIMIT],
            "execution_context": dict(item.context),
        }
