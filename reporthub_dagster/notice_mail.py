"""One notice as an e-mail: who gets it, and sending it by the mail server of the environment."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, Self

from reporthub_dagster.breaker import Breaker
from reporthub_dagster.db.circuits import Circuits
from reporthub_dagster.destinations.addresses import Address, split_addresses
from reporthub_dagster.destinations.base import Parcel
from reporthub_dagster.destinations.environment import DestinationSettings
from reporthub_dagster.planning import destination_for
from reporthub_dagster.reporting.errors import ConfigurationError
from reporthub_dagster.reporting.records import Delivery, Recipient

_PATIENCE_SECONDS = 10.0
_RESULT = {
    "failed": ("Failed", "This report has failed. Nobody is told again within the hour."),
    "late": ("Late", "This report is late. Nobody is told again within the hour."),
    "recovered": ("Works again", "This report has been delivered, after it had failed or was late."),
}


@dataclass(frozen=True, slots=True)
class Notice:
    """What people are told.

    Attributes:
        id: Its own: each notice is a message of its own.
        config_id: The report.
    """

    id: str
    config_id: int
    subject: str
    text: str

    @classmethod
    def of(cls, result: str, config_id: int, name: str, about: Mapping[str, str], when: str) -> Self:
        """That a report fails, is late or works again, and a line for each thing known about it."""
        word, opening = _RESULT[result]
        text = "\n".join(f"{key}: {value}" for key, value in about.items() if value)
        return cls(f"{when}-{result}", config_id, f"{word}: {name}", f"{opening}\n\n{text}\n")


def send_notice(
    notice: Notice,
    to: Sequence[str],
    environment: DestinationSettings,
    circuits: Circuits,
    say: Callable[[str], object],
) -> bool:
    """Whether somebody has got it; a mail server that is away is left alone.

    Raises:
        ConfigurationError: A setting of the environment is not usable.
        TransientError: The database does not do its work.
    """
    people = tuple(Recipient(0, "email", address, {}) for address in to)
    options = {"subject": "{{notice_subject}}", "body": "{{notice_text}}"}
    delivery = Delivery(0, notice.config_id, "notice", "email", options, 0, 0, people)
    try:
        destination = destination_for(delivery, replace(environment, timeout_seconds=_PATIENCE_SECONDS))
    except ConfigurationError as error:  # of the environment: there is no row of this delivery
        column = error.column if error.table is None else None
        raise ConfigurationError(error.problem, column=column, valid=error.valid) from None
    breaker = Breaker(circuits, destination, say)
    away = next(iter(breaker.away(destination.recipients()).values()), None)
    if away is not None:
        say(f"a notice is not sent: {away}")
        return False
    parcel = Parcel(notice.id, (), {"notice_subject": notice.subject, "notice_text": notice.text})
    with closing(destination.send(parcel, destination.recipients())) as sending:
        receipts = list(sending)
    breaker.settle(receipts)
    for receipt in receipts:
        say(f"notice to {receipt.recipient}: {receipt.state}: {receipt.detail}")
    return any(receipt.state in {"sent", "unknown"} for receipt in receipts)


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
