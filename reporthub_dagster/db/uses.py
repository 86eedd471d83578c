"""What still needs the files of an execution, as its row has it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from reporthub_dagster.db import rows
from reporthub_dagster.db.inserting import chunks
from reporthub_dagster.db.models import ReportExecution
from reporthub_dagster.db.session import Hub

_ENDED = frozenset({"completed", "failed", "cancelled"})


@dataclass(frozen=True, slots=True)
class Use:
    """What an execution's row says of its files.

    Attributes:
        is_open: It has no outcome yet: a run, or a retry that is due, needs them. A status that we do not
            know counts as open.
        at: When it ended, else when it started.
    """

    is_open: bool
    at: datetime | None


class Uses:
    """The executions of the shared database, asked about many at once."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def of(self, execution_ids: Sequence[str]) -> dict[str, Use]:
        """Execution id → its use; those without a row are left out."""
        table = ReportExecution
        query = select(table.id, table.status, table.started_at, table.completed_at)
        with self._hub.begin() as connection:
            return {
                row.id: Use(
                    is_open=row.status not in _ENDED,
                    at=rows.to_utc(row.completed_at or row.started_at, self._hub.zone),
                )
                for ids in chunks(execution_ids)
                for row in connection.execute(query.where(table.id.in_(ids)))
            }
