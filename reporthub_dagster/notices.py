"""Telling people that a report fails or is late, and that it works again: one e-mail, no outcome changed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from reporthub_dagster.db.circuits import Circuits
from reporthub_dagster.db.executions import Executions
from reporthub_dagster.db.leases import LAUNCH
from reporthub_dagster.db.notices import Notices
from reporthub_dagster.db.repository import Repository
from reporthub_dagster.db.session import Hub
from reporthub_dagster.db.watch import LateExecution, Watch
from reporthub_dagster.destinations.environment import DestinationSettings
from reporthub_dagster.notice_mail import Notice, audience, send_notice
from reporthub_dagster.reporting.errors import ConfigurationError, ReportHubError
from reporthub_dagster.reporting.records import Execution
from reporthub_dagster.settings import Settings

_MOST_AT_ONCE = 5
"""Late reports that one tick tells of: it has other things to do."""
_LATE_CURE = {
    "queued": "look whether Dagster's daemon and the workers run, and what is before it in the queue",
    "running": "look at its run; what may take so long needs a larger REPORTHUB_LATE_MINUTES",
}


def tell_outcome(
    hub: Hub,
    execution_id: str,
    environment: DestinationSettings,
    now: datetime,
    say: Callable[[str], object],
) -> None:
    """Tell people what became of an execution, if they are to know; what goes wrong is said and nothing else.

    A run that goes to some only, or to nobody, is the business of whoever started it.
    """
    if environment.smtp is None:
        return
    with _only_said(f"nobody could be told about execution {execution_id}", say):
        notifier = Notifier.of(hub, environment, say)
        execution = notifier.executions.find(execution_id)
        if execution is None or not _is_for_all(execution):
            return
        if execution.status == "failed":
            notifier.failed(execution, now)
        elif execution.status == "completed":
            notifier.recovered(execution, now)


def tell_late(
    hub: Hub, environment: DestinationSettings, now: datetime, say: Callable[[str], object]
) -> None:
    """Tell people which executions have no outcome though they should; each once, some reports at a time."""
    if environment.smtp is None:
        return
    with _only_said("nobody could be told what is late", say):
        notifier = Notifier.of(hub, environment, say)
        late: dict[int, list[LateExecution]] = defaultdict(list)
        for each in Watch(hub).late_and_untold(now - timedelta(minutes=notifier.settings.late_minutes)):
            late[each.config_id].append(each)
        for executions in list(late.values())[:_MOST_AT_ONCE]:
            if not notifier.late(executions, now):
                break


@contextmanager
def _only_said(what: str, say: Callable[[str], object]) -> Iterator[None]:
    """A notice never changes an outcome, and never ends a tick."""
    try:
        yield
    except ReportHubError as error:
        say(f"{what}: {error}")
    except Exception as error:  # noqa: BLE001 - see above
        say(f"{what}: {type(error).__name__}")


@dataclass(frozen=True, slots=True)
class Notifier:
    """Tells whoever cares about a report.

    Attributes:
        environment: The mail server; notices go out by that alone.
        say: Receives one line for the log.
    """

    repository: Repository
    executions: Executions
    notices: Notices
    circuits: Circuits
    settings: Settings
    environment: DestinationSettings
    say: Callable[[str], object]

    @classmethod
    def of(cls, hub: Hub, environment: DestinationSettings, say: Callable[[str], object]) -> Self:
        """The one of an installation.

        Raises:
            ConfigurationError: A setting of the environment is not valid.
        """
        settings = Settings.load()
        circuits = Circuits(hub, settings.breaker_policy)
        return cls(Repository(hub), Executions(hub), Notices(hub), circuits, settings, environment, say)

    def failed(self, execution: Execution, now: datetime) -> None:
        """Tell that an execution has failed for good, unless that was told of its report within the hour.

        Raises:
            ReportHubError: The database or the mail server does not do its work.
        """
        cause = execution.error_message or "no reason is known"
        self._trouble("failed", execution, {"Cause": cause, "Cure": _cure(execution)}, now)

    def late(self, late: Sequence[LateExecution], now: datetime) -> bool:
        """Tell that executions of one report are late, the oldest first; False when that cannot be done now.

        Raises:
            ReportHubError: As `failed`.
        """
        found = (self.executions.find(each.id) for each in late)
        concern = [each for each in found if each is not None and _is_for_all(each) and _is_due(each)]
        done = not concern or self._trouble("late", concern[0], self._lateness(late, concern, now), now)
        if done:
            self.notices.late_is_told([each.id for each in late])
        return done

    def _lateness(
        self, late: Sequence[LateExecution], concern: Sequence[Execution], now: datetime
    ) -> dict[str, str]:
        first = concern[0]
        wanted_at = next(each.wanted_at for each in late if each.id == first.id)
        minutes = int((now - wanted_at).total_seconds() // 60)
        zone = self._zone(first)
        wanted = f"it was wanted at {wanted_at.astimezone(zone):%F %R} {zone}"
        return {
            "Late": f"still {first.status} after {minutes} min; {wanted}",
            "Also late": f"{len(concern) - 1} more of this report" if len(concern) > 1 else "",
            "Cure": _LATE_CURE[first.status],
        }

    def _zone(self, execution: Execution) -> ZoneInfo:
        """That of the execution's times for people; a broken row does not keep them from being told."""
        default = ZoneInfo(self.settings.default_timezone)
        try:
            schedule = self.repository.schedule(execution.schedule_id) if execution.schedule_id else None
            return ZoneInfo(schedule.timezone) if schedule else default
        except (ConfigurationError, ValueError, ZoneInfoNotFoundError):
            return default

    def _trouble(self, result: str, execution: Execution, lines: Mapping[str, str], now: datetime) -> bool:
        """Whether nobody is left to tell."""
        to = self._audience(execution.config_id)
        if not to:
            return True
        if not self.notices.may_tell_trouble(execution.config_id):
            return False
        told = False
        try:
            told = self._send(result, execution, to, lines, now)
        finally:
            if told:
                self.notices.recovery_is_due(execution.config_id)
            else:
                self.notices.not_told(execution.config_id)
        return told

    def recovered(self, execution: Execution, now: datetime) -> None:
        """Tell that a report works again, if its failure was told; the next success does what this cannot.

        Raises:
            ReportHubError: As `failed`.
        """
        config_id = execution.config_id
        if not self.notices.may_tell_recovery(config_id):
            return
        if not self._send("recovered", execution, self._audience(config_id), {}, now):
            self.notices.recovery_is_due(config_id)

    def _audience(self, config_id: int) -> tuple[str, ...]:
        about = self.repository.about_report(config_id)
        operator = self.settings.operator_email
        try:
            return audience(config_id, about.notify, about.created_by, operator)
        except ConfigurationError as error:
            self.say(str(error))
            return (operator,) if operator else ()

    def _send(
        self,
        result: str,
        execution: Execution,
        to: tuple[str, ...],
        lines: Mapping[str, str],
        now: datetime,
    ) -> bool:
        """Whether somebody has got it."""
        name = self.repository.about_report(execution.config_id).name
        window = execution.context.get("time_range") or {}
        about = {
            "Report": f"{name} (report_configs {execution.config_id})",
            "Window": _window_text(window),
            "Execution": execution.id,
            **lines,
            "Run": self._link(execution),
        }
        notice = Notice.of(result, execution.config_id, name, about, f"{execution.id}-{now:%Y%m%d%H%M%S}")
        return send_notice(notice, to, self.environment, self.circuits, self.say)

    def _link(self, execution: Execution) -> str:
        run_id, base = execution.context.get("dagster_run_id"), self.settings.ui_url
        if not run_id:
            return ""
        return f"{base.rstrip('/')}/runs/{run_id}" if base else str(run_id)


def _window_text(window: Mapping[str, Any]) -> str:
    if "start_datetime" not in window:
        return ""
    return f"{window['start_datetime']} to {window['end_datetime']} {window.get('timezone', '')}"


def _is_for_all(execution: Execution) -> bool:
    """Whether it goes, or will go, to everybody."""
    launch = execution.context.get(LAUNCH) or {}
    return (execution.context.get("deliver") or launch.get("deliver") or "all") == "all"


def _is_due(execution: Execution) -> bool:
    """Whether it has a time at which it is wanted: the past that somebody asks for has none."""
    return "backfill" not in execution.context


def _cure(execution: Execution) -> str:
    if execution.context.get("error_kind") == ConfigurationError.__name__:
        return "change what the cause names, then re-execute the run"
    if execution.file_path:
        return f"when the cause is gone: reporthub redeliver {execution.id}"
    return "when the cause is gone, re-execute the run"
