"""A hub with schedules and a scheduler whose clock the test turns; runs are claimed and finished by hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from reporthub_dagster.db.claims import Claim
from reporthub_dagster.db.executions import Executions, Outcome
from reporthub_dagster.db.leases import Leases
from reporthub_dagster.db.repository import Repository
from reporthub_dagster.db.session import Hub
from reporthub_dagster.planning import ReportRequest, plan_report
from reporthub_dagster.reporting.kept_window import instant_from_context, window_from_json, window_to_json
from reporthub_dagster.reporting.records import RenderedFile, ReportPlan, TimeWindow
from reporthub_dagster.reporting.schedule_policy import SchedulePolicy
from reporthub_dagster.scheduling import Scheduler, TickOutcome
from reporthub_dagster_tests.go_api import GoApi

MORNING = datetime(2025, 1, 31, 8, 0, tzinfo=UTC)
FILE = RenderedFile(Path("/out/e/files/a.csv"), "a.csv", "csv", "text/csv", 12, "00", 3)


@dataclass
class Days:
    """Time that passes at the test's will, over a hub with one report (id 1) and the schedules it makes."""

    hub: Hub
    go: GoApi
    now: datetime = MORNING
    defaults: SchedulePolicy = field(default_factory=SchedulePolicy)

    def schedule(self, row: int, cron: str = "0 * * * *", zone: str = "UTC", **policy: Any) -> None:
        """A report with one schedule, both of the same id; 1 is there already and is changed."""
        parameters = {"schedule": policy}
        if row != 1:
            self.go.insert(
                "report_configs", id=row, report_name=f"R{row}", report_query="SELECT 1", datasource_id=1
            )
            self.go.insert("report_schedules", id=row, config_id=row, cron_expression=cron)
        self.parameters(row, parameters)
        self.go.execute(
            "UPDATE report_schedules SET cron_expression = :cron, timezone = :zone, is_active = :yes "
            "WHERE id = :row",
            cron=cron,
            zone=zone,
            row=row,
            yes=True,
        )

    def parameters(self, row: int, parameters: Any) -> None:
        """Give a report other parameters."""
        import json  # noqa: PLC0415

        text = json.dumps(parameters)
        self.go.execute("UPDATE report_configs SET parameters = :p WHERE id = :row", p=text, row=row)

    def tick(self, after: timedelta = timedelta(0), **options: Any) -> TickOutcome:
        """Let time pass, then tick."""
        self.now += after
        return Scheduler(self.hub, self.defaults).tick(self.now, **options)

    def fates(self, row: int = 1) -> list[tuple[str, str]]:
        """Time of day and state of a schedule's slots."""
        found = self.go.rows(
            "SELECT slot, state FROM reporthub_slots WHERE schedule_id = :row ORDER BY slot", row=row
        )
        return [(str(one["slot"])[11:16], one["state"]) for one in found]

    def executions(self, row: int = 1) -> list[dict[str, Any]]:
        """A schedule's executions in the order of their slots."""
        return self.go.rows(
            "SELECT e.* FROM report_executions e JOIN reporthub_slots s ON s.execution_id = e.id "
            "WHERE e.schedule_id = :row ORDER BY s.slot",
            row=row,
        )

    def begin(self, execution_id: str, run: str = "run") -> tuple[Claim, ReportPlan]:
        """What the first op does: claim, then decide the window."""
        executions = Executions(self.hub)
        execution = executions.find(execution_id)
        assert execution is not None
        holder = Leases(self.hub).holder(execution_id)
        claim = executions.claim(
            execution_id,
            f"{run}-{execution_id[:8]}",
            after=holder.claim if holder else None,
            from_status=execution.status,
            at=self.now,
        )
        assert claim is not None
        request = ReportRequest(
            execution.config_id,
            execution.schedule_id,
            slot=instant_from_context(execution.context, "slot"),
            follows=instant_from_context(execution.context, "follows"),
            window=window_from_json(execution.context.get("time_range")),
        )
        plan = plan_report(
            Repository(self.hub),
            request,
            execution_id=execution_id,
            now=self.now,
            default_timezone="UTC",
        )
        executions.remember(claim, {"time_range": window_to_json(plan.window)})
        return claim, plan

    def ask(self, execution_id: str) -> None:
        """A person asks for a run of schedule 1 now."""
        Executions(self.hub).add(
            execution_id, config_id=1, schedule_id=1, executed_by="ana", at=self.now, context={"launch": {}}
        )

    def end_covered(self, execution_id: str) -> None:
        """What the first op does when nothing is left for an execution that it has claimed."""
        holder = Leases(self.hub).holder(execution_id)
        assert holder is not None
        Executions(self.hub).finish(holder.claim, "cancelled", at=self.now)

    def forget_all(self) -> None:
        """Begin anew: MORNING, and nothing has ever run."""
        self.now = MORNING
        for table in ("launches", "leases", "slots", "schedules"):
            self.go.execute(f"DELETE FROM reporthub_{table}")
        self.go.execute("DELETE FROM report_executions")
        self.go.execute("UPDATE report_schedules SET last_run_at = NULL, next_run_at = NULL")

    def end(self, claim: Claim, plan: ReportPlan, outcome: Outcome = "completed") -> None:
        """What the last ops do: the file, if it was made, and the outcome."""
        executions = Executions(self.hub)
        if outcome == "completed":
            executions.files_done(claim, [FILE], plan)
        executions.finish(claim, outcome, at=self.now)

    def run(self, execution_id: str, outcome: Outcome = "completed") -> TimeWindow:
        """A whole run; its window."""
        claim, plan = self.begin(execution_id)
        self.end(claim, plan, outcome)
        return plan.window
