"""Telling people that a report fails, and that it works again: one e-mail, which never changes an outcome."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from reporthub_dagster.db.executions import Executions
from reporthub_dagster.db.notices import Notices
from reporthub_dagster.db.repository import Repository
from reporthub_dagster.db.session import Hub
from reporthub_dagster.destinations.addresses import Address, split_addresses
from reporthub_dagster.destinations.base import DestinationSettings, Parcel
from reporthub_dagster.planning import destination_for
from reporthub_dagster.reporting.errors import ConfigurationError, ReportHubError
from reporthub_dagster.reporting.records import Delivery, Execution, Recipient
from reporthub_dagster.settings import Settings

_PATIENCE_SECONDS = 10.0
_RESULT = {
    "failed": ("Failed", "This report has failed. Nobody is told again within the hour."),
    "recovered": ("Works again", "This report has been delivered again, after it had failed."),
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
    try:
        settings = Settings.load()
        execution = Executions(hub).find(execution_id)
        if execution is None or environment.smtp is None or execution.context.get("deliver", "all") != "all":
            return
        notifier = Notifier(Repository(hub), Notices(hub), settings, environment, say)
        if execution.status == "failed":
            notifier.failed(execution, now)
        elif execution.status == "completed":
            notifier.recovered(execution, now)
    except ReportHubError as error:
        say(f"nobody could be told about execution {execution_id}: {error}")
    except Exception as error:  # noqa: BLE001 - a notice never changes an outcome
        say(f"nobody could be told about execution {execution_id}: {type(error).__name__}")


@dataclass(frozen=True, slots=True)
class Notifier:
    """Tells whoever cares about a report.

    Attributes:
        environment: The mail server; notices go out by that alone.
        say: Receives one line for the log.
    """

    repository: Repository
    notices: Notices
    settings: Settings
    environment: DestinationSettings
    say: Callable[[str], object]

    def failed(self, execution: Execution, now: datetime) -> None:
        """Tell that an execution has failed for good, unless that was told of its report within the hour.

        Raises:
            ReportHubError: The database or the mail server does not do its work.
        """
        to = self._audience(execution.config_id)
        if to and self.notices.may_tell_failure(execution.config_id):
            cause = execution.error_message or "no reason is known"
            lines = {"Cause": cause, "Cure": _cure(execution)}
            if not self._send("failed", execution, to, lines, now):
                self.notices.not_told(execution.config_id)

    def recovered(self, execution: Execution, now: datetime) -> None:
        """Tell that a report works again, if its failure was told.

        Raises:
            ReportHubError: As `failed`.
        """
        if self.notices.may_tell_recovery(execution.config_id):
            self._send("recovered", execution, self._audience(execution.config_id), {}, now)

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
        word, opening = _RESULT[result]
        text = "\n".join(f"{key + ':':<11}{value}" for key, value in about.items() if value)
        values = {"notice_subject": f"{word}: {name}", "notice_text": f"{opening}\n\n{text}\n"}
        # A name of its own: each notice is a message of its own.
        parcel = Parcel(f"{execution.id}-{result}-{now:%Y%m%d%H%M%S}", (), values)
        people = tuple(Recipient(0, "email", address, {}) for address in to)
        options = {"subject": "{{notice_subject}}", "body": "{{notice_text}}"}
        delivery = Delivery(0, execution.config_id, "notice", "email", options, 0, 0, people)
        destination = destination_for(delivery, replace(self.environment, timeout_seconds=_PATIENCE_SECONDS))
        with closing(destination.send(parcel, destination.recipients())) as sending:
            receipts = list(sending)
        for receipt in receipts:
            self.say(f"notice to {receipt.recipient}: {receipt.state}: {receipt.detail}")
        return any(receipt.state in {"sent", "unknown"} for receipt in receipts)

    def _link(self, execution: Execution) -> str:
        run_id, base = execution.context.get("dagster_run_id"), self.settings.ui_url
        if not run_id:
            return ""
        return f"{base.rstrip('/')}/runs/{run_id}" if base else str(run_id)


def audience(config_id: int, notify: Any, created_by: str | None, operator: str | None) -> tuple[str, ...]:
    """Who is told of a report: `parameters.notify`, else who made it, else the operator.

    Raises:
        ConfigurationError: `notify` holds something else than addresses.
    """
    if notify is not None:
        return _addresses(notify, config_id)
    if created_by and _is_address(created_by):
        return (created_by,)
    return (operator,) if operator else ()


def _addresses(value: Any, config_id: int) -> tuple[str, ...]:
    parts = [value] if isinstance(value, str) else value
    is_list = isinstance(parts, list) and all(isinstance(part, str) for part in parts)
    found = split_addresses(parts) if is_list else ()
    wrong = [address for address in found if not _is_address(address)]
    if not is_list or wrong:
        raise ConfigurationError(
            "not e-mail addresses",
            table="report_configs",
            row=config_id,
            column="parameters.notify",
            value=wrong[0] if wrong else value,
            valid='for example "ops@example.com", or a list of them; [] tells nobody',
        )
    return found


def _is_address(text: str) -> bool:
    try:
        Address.parse(text)
    except ValueError:
        return False
    return True


def _window_text(window: Mapping[str, Any]) -> str:
    if "start_datetime" not in window:
        return ""
    return f"{window['start_datetime']} to {window['end_datetime']} {window.get('timezone', '')}"


def _cure(execution: Execution) -> str:
    if execution.context.get("error_kind") == ConfigurationError.__name__:
        return "change what the cause names, then re-execute the run"
    if execution.file_path:
        return f"when the cause is gone: reporthub redeliver {execution.id}"
    return "when the cause is gone, re-execute the run"
