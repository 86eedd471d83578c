"""Executions: what is asked for, who works on it, and what became of it.

Every write of an outcome is fenced: it happens only while the caller's claim is the latest, and raises
`LostClaimError` otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, and_, insert, or_, select, update

from reporthub_dagster.db import rows
from reporthub_dagster.db.claims import (
    WAITING,
    Claim,
    TooLateError,
    context_of,
    fence_of,
    insert_once,
    require_claim,
    retry_is_due,
    take,
    write_fenced,
)
from reporthub_dagster.db.clock import now_of
from reporthub_dagster.db.ledger import Lease
from reporthub_dagster.db.models import ReportExecution, ReportSchedule
from reporthub_dagster.db.session import Hub
from reporthub_dagster.reporting.errors import PermanentError
from reporthub_dagster.reporting.records import (
    Execution,
    QueryResult,
    RenderedFile,
    ReportPlan,
    TimeWindow,
)

MESSAGE_LIMIT = 4_000
"""Characters of an error message that are kept."""

PERSON_LIMIT = 100
"""Characters of `executed_by` that the column holds."""

Outcome = Literal["completed", "failed", "cancelled"]


class Executions:
    """The executions of the shared database."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def find(self, execution_id: str) -> Execution | None:
        """An execution, or None."""
        query = select(*ReportExecution.__table__.columns).where(ReportExecution.id == execution_id)
        with self._hub.begin() as connection:
            row = connection.execute(query).mappings().one_or_none()
        return rows.execution(row, self._hub.zone) if row else None

    def latest(
        self, *, config_id: int | None = None, status: str | None = None, limit: int = 50
    ) -> list[Execution]:
        """The latest executions first."""
        table = ReportExecution
        query = select(*table.__table__.columns).order_by(table.started_at.desc(), table.id).limit(limit)
        if config_id is not None:
            query = query.where(table.config_id == config_id)
        if status is not None:
            query = query.where(table.status == status)
        with self._hub.begin() as connection:
            found = connection.execute(query).mappings().all()
        return [rows.execution(row, self._hub.zone) for row in found]

    def add(
        self,
        execution_id: str,
        *,
        config_id: int,
        schedule_id: int | None,
        executed_by: str,
        at: datetime,
        context: Mapping[str, Any] | None = None,
    ) -> Execution:
        """Write a `running` row, or find the one of this id that is already there."""
        values = {
            "id": execution_id,
            "config_id": config_id,
            "schedule_id": schedule_id,
            "status": "running",
            "started_at": rows.to_wall(at, self._hub.zone),
            "executed_by": executed_by[:PERSON_LIMIT],
            "execution_context": dict(context) if context else None,
        }
        with suppress(TooLateError), self._hub.begin() as connection:
            insert_once(connection, insert(ReportExecution).values(values))
        found = self.find(execution_id)
        if found is None:
            raise PermanentError(f"execution {execution_id} cannot be written to report_executions")
        return found

    def claim(
        self,
        execution_id: str,
        run_id: str,
        *,
        after: Claim | None,
        from_status: str,
        at: datetime,
        context: Mapping[str, Any] | None = None,
        anew: bool | None = None,
    ) -> Claim | None:
        """Move an execution to `running` for this run, if nobody else did since the caller looked.

        Args:
            execution_id: The execution.
            run_id: The Dagster run that claims it.
            after: The claim that the caller saw and may take over; None when it saw none.
            from_status: The status that the caller saw.
            at: Now.
            context: Keys to merge into `execution_context`.
            anew: Everybody who has not got it is tried anew; None where the execution has ended.

        Returns:
            The claim, or None when somebody else was faster.
        """
        claim = Claim(execution_id, run_id, after.token + 1 if after else 1)
        moment = rows.to_wall(at, self._hub.zone)
        try:
            with self._hub.begin() as connection:
                take(connection, claim, after, from_status, moment, anew=anew)
                if context:
                    write_fenced(connection, claim, {}, context)
        except TooLateError:
            return None
        return claim

    def require(self, claim: Claim) -> None:
        """Make sure that a claim is still the latest.

        Raises:
            LostClaimError: It is not.
        """
        with self._hub.begin() as connection:
            require_claim(connection, claim)

    def branch_done(self, claim: Claim) -> None:
        """One delivery has not failed: where another has, the execution is open while a retry is due.

        Raises:
            LostClaimError: The claim is no longer the latest.
        """
        error = select(ReportExecution.error_message).where(ReportExecution.id == claim.execution_id)
        with self._hub.begin() as connection:
            if connection.scalar(error):
                waits = connection.scalar(select(retry_is_due(claim.execution_id)))
                ended = None if waits else rows.to_wall(now_of(connection), self._hub.zone)
                values = {"status": "running" if waits else "failed", "completed_at": ended}
                write_fenced(connection, claim, values, {})

    def wait(self, claim: Claim) -> None:
        """Leave an execution `running` with nobody at work on it, until a retry is due.

        Raises:
            LostClaimError: The claim is no longer the latest.
        """
        with self._hub.begin() as connection:
            write_fenced(connection, claim, {"status": "running", "completed_at": None}, {})
            connection.execute(update(Lease).where(*fence_of(claim)).values(run_id=WAITING))

    def remember(self, claim: Claim, context: Mapping[str, Any]) -> None:
        """Merge keys into `execution_context`.

        Raises:
            LostClaimError: The claim is no longer the latest.
        """
        with self._hub.begin() as connection:
            write_fenced(connection, claim, {}, context)

    def warn(self, claim: Claim, warnings: Iterable[str]) -> None:
        """Add sentences to `execution_context.warnings`, each once.

        Raises:
            LostClaimError: The claim is no longer the latest.
        """
        with self._hub.begin() as connection:
            present = context_of(connection, claim.execution_id).get("warnings", [])
            write_fenced(connection, claim, {}, {"warnings": list(dict.fromkeys([*present, *warnings]))})

    def query_done(self, claim: Claim, results: Sequence[QueryResult], context: Mapping[str, Any]) -> None:
        """Record rows and time of the queries: the sum of both.

        Raises:
            LostClaimError: The claim is no longer the latest.
        """
        values = {
            "query_execution_time_ms": sum(result.query_ms for result in results),
            "rows_returned": sum(result.row_count for result in results),
        }
        with self._hub.begin() as connection:
            write_fenced(connection, claim, values, context)

    def files_done(self, claim: Claim, files: Sequence[RenderedFile], plan: ReportPlan) -> bool:
        """Record the files, and with them that the schedule's window is done: `last_run_at` moves forward.

        The columns hold path and size of the first file, `execution_context.files` those of all.

        A window that a person gave (`explicit`), or a file that not everybody shall get, leaves the schedule
        as it is: its next run still covers those rows.

        Returns:
            Whether they are new: no earlier attempt has recorded the same.

        Raises:
            LostClaimError: The claim is no longer the latest.
        """
        first = files[0]
        values = {"file_generated_path": str(first.path), "file_size_bytes": first.size}
        context = {"file_sha256": first.sha256, "files": [_file(file) for file in files]}
        with self._hub.begin() as connection:
            before = write_fenced(connection, claim, values, context)
            is_regular = plan.window.method != "explicit" and plan.deliver == "all"
            if plan.schedule_id is not None and is_regular:
                self._advance(connection, plan.schedule_id, plan.window)
        return before.get("files") != context["files"]

    def _advance(self, connection: Connection, schedule_id: int, window: TimeWindow) -> None:
        """Forward only; naming `updated_at` keeps MySQL from touching it.

        A window that the cron alone decided knows of no other: begun after the end of one that was made
        meanwhile, it would skip the rows between.
        """
        table, end = ReportSchedule, rows.to_wall(window.end, self._hub.zone)
        behind = table.last_run_at < end
        if window.method == "cron_detection":
            behind = and_(behind, table.last_run_at >= rows.to_wall(window.start, self._hub.zone))
        connection.execute(
            update(table)
            .where(table.id == schedule_id, or_(table.last_run_at.is_(None), behind))
            .values(last_run_at=end, updated_at=table.updated_at)
        )

    def finish(
        self,
        claim: Claim,
        outcome: Outcome,
        *,
        at: datetime | None = None,
        error: str | None = None,
        kind: str | None = None,
        is_branch: bool = False,
    ) -> None:
        """Write the outcome; the errors of several branches of a run stand side by side.

        Args:
            claim: The right to write it.
            outcome: What became of the execution.
            at: Now; None asks the database.
            error: Why it did not complete, for people.
            kind: Class of the error, kept in the context for programs.
            is_branch: One delivery failed: while a retry is due for another, the execution stays `running`.

        Raises:
            LostClaimError: The claim is no longer the latest.
        """
        with self._hub.begin() as connection:
            ended = rows.to_wall(at or now_of(connection), self._hub.zone)
            values: dict[str, Any] = {"status": outcome, "completed_at": ended}
            if is_branch and connection.scalar(select(retry_is_due(claim.execution_id))):
                values = {}
            if error:
                query = select(ReportExecution.error_message).where(ReportExecution.id == claim.execution_id)
                present = connection.scalar(query)
                values["error_message"] = "; ".join(filter(None, (present, error)))[:MESSAGE_LIMIT]
            write_fenced(connection, claim, values, {"error_kind": kind})


def _file(file: RenderedFile) -> dict[str, Any]:
    """A file as `execution_context.files` has it."""
    return {
        "path": str(file.path),
        "name": file.name,
        "format": file.format,
        "media_type": file.media_type,
        "size": file.size,
        "sha256": file.sha256,
        "row_count": file.row_count,
        "truncated": file.truncated,
    }
