"""What `reporthub schedules` shows: the last slots of each schedule with their fate, and the next ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import click

from reporthub_dagster.db.models import ReportSchedule
from reporthub_dagster.db.repository import Repository
from reporthub_dagster.db.slots import Slots
from reporthub_dagster.planning import located
from reporthub_dagster.reporting.errors import ReportHubError
from reporthub_dagster.reporting.records import Schedule
from reporthub_dagster.reporting.schedule import Cron
from reporthub_dagster.reporting.schedule_policy import SchedulePolicy, parse_policy
from reporthub_dagster.reporting.slots import jitter_of

LAST = 5
"""Slots of the past that are shown."""

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Timetable:
    """The active schedules, as documents.

    Attributes:
        defaults: Policy of reports that say nothing themselves.
        now: By the database's clock.
        ahead: How many slots of the future to show.
    """

    repository: Repository
    slots: Slots
    defaults: SchedulePolicy
    now: datetime
    ahead: int

    def documents(self) -> Iterable[Document]:
        """Each active schedule; a broken one has an `error` and no next slots."""
        for schedule_id in self.repository.active_ids(ReportSchedule):
            schedule = self.repository.schedule(schedule_id)
            yield {
                "schedule_id": schedule.id,
                "config_id": schedule.config_id,
                "cron_expression": schedule.cron_expression,
                "timezone": schedule.timezone,
                **self._plans(schedule),
                "last": [self._fate(row, schedule.timezone) for row in self.slots.latest(schedule.id, LAST)],
            }

    def _plans(self, schedule: Schedule) -> Document:
        found: Document = {"report_name": None, "policy": None, "next": [], "error": None}
        try:
            with located("report_schedules", schedule.id):
                cron = Cron.parse(schedule.cron_expression, schedule.timezone)
                config = self.repository.report_config(schedule.config_id)
            policy = parse_policy(config.id, config.parameters, self.defaults)
        except ReportHubError as error:
            return {**found, "error": str(error)}
        ahead = islice(_allowed(cron, policy, self.now), self.ahead) if config.is_active else ()
        return {
            **found,
            "report_name": config.name,
            "policy": policy.model_dump(mode="json"),
            "jitter_seconds": int(jitter_of(schedule.id, policy).total_seconds()),
            "next": [_moment(slot, schedule.timezone) for slot in ahead],
            "error": None if config.is_active else f"report_configs {config.id} is not active",
        }

    def _fate(self, row: Any, timezone: str) -> Document:
        return {
            **_moment(row.slot, timezone),
            "state": row.state,
            "reason": row.reason,
            "execution_id": row.execution_id,
            "status": row.status,
        }


def print_schedule(document: Mapping[str, Any]) -> None:
    """A schedule for a person."""
    name = document["report_name"] or f"report_configs {document['config_id']}"
    click.echo(
        f"schedule {document['schedule_id']}: {name}, "
        f"{document['cron_expression']} {document['timezone']}{_policy_text(document['policy'])}"
    )
    if document["error"]:
        click.echo(f"  error      {document['error']}")
    for fate in reversed(document["last"]):
        detail = fate["reason"] or f"{fate['status'] or 'gone'}, execution {fate['execution_id']}"
        click.echo(f"  {fate['state']:<10} {_moment_text(fate)}  {detail}")
    for slot in document["next"]:
        click.echo(f"  next       {_moment_text(slot)}")


def _allowed(cron: Cron, policy: SchedulePolicy, after: datetime) -> Iterable[datetime]:
    """The slots to come that the policy lets run; of a policy that lets none, nothing after a while."""
    slot = after
    for _ in range(10_000):
        slot = cron.next_after(slot)
        if policy.reason_outside(slot.astimezone(cron.zone)) is None:
            yield slot


def _moment(slot: datetime, timezone: str) -> Document:
    try:
        local = slot.astimezone(Cron.parse("* * * * *", timezone).zone)
    except ReportHubError:
        local = slot  # the schedule's error says that there is no such zone
    return {"utc": slot.astimezone(UTC).isoformat(), "local": local.isoformat()}


def _moment_text(moment: Mapping[str, str]) -> str:
    utc, local = (datetime.fromisoformat(moment[name]) for name in ("utc", "local"))
    return (
        f"{local:%a %Y-%m-%d %H:%M}"
        if utc.replace(tzinfo=None) == local.replace(tzinfo=None)
        else (f"{local:%a %Y-%m-%d %H:%M} ({utc:%Y-%m-%d %H:%M} UTC)")
    )


def _policy_text(policy: Mapping[str, Any] | None) -> str:
    """What differs from the policy that every report has."""
    usual = SchedulePolicy().model_dump(mode="json")
    parts = [f"{key} {value}" for key, value in (policy or {}).items() if value != usual[key]]
    return f" ({', '.join(parts)})" if parts else ""
