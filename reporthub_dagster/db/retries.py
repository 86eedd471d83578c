"""Which executions are due for another attempt at their deliveries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, not_, or_, select

from reporthub_dagster.db.circuits import held_back, waits_too_long
from reporthub_dagster.db.claims import WAITING
from reporthub_dagster.db.clock import utc_ago
from reporthub_dagster.db.ledger import Circuit, Lease, LedgerEntry
from reporthub_dagster.db.models import ReportExecution
from reporthub_dagster.db.session import Hub
from reporthub_dagster.reporting.breaker_policy import BreakerPolicy


@dataclass(frozen=True, slots=True)
class DueExecution:
    """An execution that waits for a retry whose time has come.

    Attributes:
        token: Of its lease; grows with every run that takes it.
        late_seconds: How long ago the first of its recipients was due.
    """

    execution_id: str
    config_id: int
    schedule_id: int | None
    executed_by: str
    token: int
    late_seconds: float


class Retries:
    """The executions of the shared database that wait for a retry."""

    def __init__(self, hub: Hub, policy: BreakerPolicy) -> None:
        self._hub = hub
        self._policy = policy

    def due(self, limit: int) -> list[DueExecution]:
        """Those whose time has come, the one that has waited longest first.

        Of those that wait for a server that is away one is due, when a probe is.
        """
        with self._hub.begin() as connection:
            servers = connection.scalars(select(Circuit.server).where(Circuit.probe_at <= utc_ago())).all()
            probes = [
                one
                for server in servers
                for one in _due(connection, LedgerEntry.waits_for == server, limit=1)
            ]
            may_go = or_(not_(held_back()), waits_too_long(self._policy))
            others = _due(connection, may_go, limit=limit)
        return list({one.execution_id: one for one in (*probes, *others)}.values())[:limit]


def _due(connection: Connection, condition: Any, *, limit: int) -> list[DueExecution]:
    execution = ReportExecution
    first = func.min(LedgerEntry.next_attempt_at)
    who = (execution.id, execution.config_id, execution.schedule_id, execution.executed_by, Lease.token)
    query = (
        select(*who, first.label("first"), utc_ago().label("now"))
        .join(Lease, Lease.execution_id == LedgerEntry.execution_id)
        .join(execution, execution.id == LedgerEntry.execution_id)
        .where(
            LedgerEntry.next_attempt_at <= utc_ago(),
            Lease.run_id == WAITING,
            execution.status == "running",
            condition,
        )
        .group_by(*who)
        .order_by(first, execution.id)
        .limit(limit)
    )
    return [
        DueExecution(
            execution_id=row.id,
            config_id=row.config_id,
            schedule_id=row.schedule_id,
            executed_by=row.executed_by,
            token=row.token,
            late_seconds=(row.now - row.first).total_seconds(),
        )
        for row in connection.execute(query).all()
    ]
