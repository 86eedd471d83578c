"""E-mail: one message for each recipient, all over one connection, a receipt for each."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from reporthub_dagster.destinations.addresses import Address, split_addresses
from reporthub_dagster.destinations.base import Destination, Parcel
from reporthub_dagster.destinations.email_body import TABLE_VARIABLE, BodyTexts
from reporthub_dagster.destinations.email_message import (
    LARGEST_MESSAGE,
    Heading,
    Letter,
    Message,
    default_texts,
)
from reporthub_dagster.destinations.email_settings import (
    EmailSettings,
    find_route,
    find_sender,
    parse_located,
    reply_addresses,
    tolerated,
)
from reporthub_dagster.destinations.environment import DestinationSettings
from reporthub_dagster.destinations.large_mail import Letters
from reporthub_dagster.destinations.mail_link import FileLink, LinkBucket, MakeLinks
from reporthub_dagster.destinations.report_link import report_link
from reporthub_dagster.destinations.smtp_session import Courier, Outcome, SmtpSession
from reporthub_dagster.reporting.errors import ConfigurationError
from reporthub_dagster.reporting.records import Delivery, DeliveryReceipt
from reporthub_dagster.reporting.text_template import fill


class EmailDestination(Destination):
    """Recipients are the addresses of the rows, then `cc`, then `bcc`; each gets a message of its own.

    A recipient is named by its address with the domain in small letters; one that is not valid by what is
    written there.
    """

    method = "email"

    def __init__(self, delivery: Delivery, settings: DestinationSettings) -> None:
        super().__init__(delivery, settings)
        self._config = EmailSettings.of_row(delivery.options, delivery.id)
        self._route = find_route(self._config, settings, delivery.id)
        self._sender = find_sender(self._config, settings.smtp, delivery.id)
        self._reply_to = reply_addresses(self._config, delivery.id)
        self._warn(*tolerated(self._config, self._route))
        link_s3 = self._config.link_s3
        self._bucket = LinkBucket(link_s3, delivery, settings) if link_s3 else None
        self._warn(*(self._bucket.warnings if self._bucket else ()))
        self._instead = _redirection(settings)
        if self._instead:
            self._warn(f"REPORTHUB_REDIRECT_ALL_MAIL_TO is set: {self._instead.text} gets every mail")
        self._people: dict[str, Address | ConfigurationError] = {}
        self._wires: set[str] = set()
        self._cc = self._find_people()
        if not self._people:
            raise ConfigurationError(
                "the delivery has no active recipient",
                table="report_deliveries",
                row=delivery.id,
                valid="add a row to report_delivery_recipients, with recipient_type email",
            )

    def recipients(self) -> tuple[str, ...]:
        """Everybody who gets a message."""
        return tuple(self._people)

    def server_of(self, recipient: str) -> str:  # noqa: ARG002 - one server takes all
        """The mail server."""
        return self._route.server

    def problems(self) -> tuple[ConfigurationError, ...]:
        """Addresses that are not valid."""
        return tuple(person for person in self._people.values() if isinstance(person, ConfigurationError))

    def templates(self) -> Mapping[str, str]:
        """Subject and bodies, where the row has its own."""
        texts = {name: getattr(self._config, name) for name in ("subject", "body", "body_html")}
        place = f"report_deliveries {self.delivery.id}, delivery_config"
        return {f"{place}.{name}": text for name, text in texts.items() if text}

    def values(self, parcel: Parcel) -> dict[str, str]:
        """Also where the rows go, for the bodies of a row that wants some."""
        return {**super().values(parcel), **({TABLE_VARIABLE: ""} if self._config.body_rows else {})}

    def send(self, parcel: Parcel, recipients: Sequence[str]) -> Generator[DeliveryReceipt, None, None]:
        """One message each; a recipient that the row does not name is refused."""
        courier = Courier(self._route, self.settings.timeout_seconds)
        with TemporaryDirectory(prefix="reporthub-mail-") as folder, closing(courier):
            letters = self._letters(parcel, Path(folder))
            for recipient in recipients:
                outcome = self._deliver(recipient, letters, courier)
                where = f" (redirected to {self._instead.text})" if self._instead else ""
                yield self._receipt(
                    recipient,
                    outcome.state,
                    outcome.detail + where,
                    needs_person=outcome.needs_person,
                    unreachable=outcome.unreachable,
                )

    def check(self) -> str:
        """Connect, encrypt, sign in, leave; also whether the bucket for large files takes some."""
        session = SmtpSession.open(self._route, self.settings.timeout_seconds)
        try:
            told = session.describe()
        finally:
            session.close()
        return f"{told}; {self._bucket.check()}" if self._bucket else told

    def _deliver(self, recipient: str, letters: Letters, courier: Courier) -> Outcome:
        person = self._people.get(recipient)
        if not isinstance(person, Address):
            detail = str(person or "this is not a recipient of the delivery")
            return Outcome("refused", detail, needs_person=True)

        def compose(session: SmtpSession) -> Message:
            return letters.addressed(
                person,
                now=datetime.now(UTC),
                size_limit=min(session.size_limit or LARGEST_MESSAGE, self.settings.mail.size_limit),
                utf8=session.utf8,
                instead=self._instead,
            )

        return courier.deliver(compose)

    def _letters(self, parcel: Parcel, folder: Path) -> Letters:
        values = self.values(parcel)
        subject, body = default_texts(values)
        mark = "[Test] " if parcel.is_test else ""
        heading = Heading(
            execution_id=parcel.execution_id,
            delivery_id=self.delivery.id,
            subject=mark + fill(self._config.subject or subject, values).text,
            sender=self._sender,
            sender_name=self._config.from_name or self._sender.name,
            reply_to=self._reply_to,
            cc=self._cc,
        )
        wanted = self._config.body_rows
        texts = BodyTexts(self._config.body or body, self._config.body_html)
        text, page = texts.filled(values, parcel.excerpt(wanted) if wanted and parcel.excerpt else None)
        return Letters(Letter(heading, text, page, parcel.files), folder, self._links(parcel, values))

    def _links(self, parcel: Parcel, values: Mapping[str, str]) -> MakeLinks | None:
        bucket = self._bucket
        if bucket is not None:
            return lambda: bucket.links(parcel)
        link = report_link(self._config.link, values)
        return (lambda: (FileLink(values["file_names"], link),)) if link else None

    def _find_people(self) -> tuple[Address, ...]:
        """Fill in who gets a message; returns those of `cc`."""
        for row in self.delivery.recipients:
            if not row.id:
                self._add(row.value, None, None, None)
            elif row.kind.lower() == "email":
                self._add(row.value, "report_delivery_recipients", row.id, "recipient_value")
            else:
                self._warn(f"report_delivery_recipients {row.id}: type {row.kind} is not for email, left out")
        copies: dict[str, list[Address]] = {}
        for setting, value in (("cc", self._config.cc), ("bcc", self._config.bcc)):
            column = f"delivery_config.{setting}"
            copies[setting] = self._add(value, "report_deliveries", self.delivery.id, column)
        return tuple(copies["cc"])

    def _add(
        self, value: str | tuple[str, ...], table: str | None, row: int | None, column: str | None
    ) -> list[Address]:
        """Everybody in `value` becomes a recipient who is not one yet; returns the valid addresses."""
        found = {}
        for text in split_addresses(value) or ([value] if isinstance(value, str) else []):
            try:
                address = parse_located(text, table=table, row=row, column=column)
            except ConfigurationError as error:
                self._people.setdefault(text.strip() or f"({table} {row} is empty)", error)
                continue
            if not self._instead and not self.settings.mail.allows(address.domain):
                self._people.setdefault(address.text, _not_allowed(address, table, row, column))
                continue
            found[address.wire] = address
            if address.wire not in self._wires:
                self._wires.add(address.wire)
                self._people[address.text] = address
        return list(found.values())

    def _secrets(self) -> frozenset[str]:
        """Also the environment's password, and how it looks on the wire."""
        return super()._secrets() | self._route.secrets


def _redirection(settings: DestinationSettings) -> Address | None:
    """Who gets every mail instead of its recipient.

    Raises:
        ConfigurationError: The operator named nobody that can be.
    """
    to = settings.mail.redirect_to
    if not to:
        return None
    return parse_located(to, table=None, row=None, column="REPORTHUB_REDIRECT_ALL_MAIL_TO")


def _not_allowed(
    address: Address, table: str | None, row: int | None, column: str | None
) -> ConfigurationError:
    return ConfigurationError(
        "mail may not go to this domain",
        table=table,
        row=row,
        column=column,
        value=address.text,
        valid="an operator may add the domain to REPORTHUB_MAIL_ALLOWED_DOMAINS",
    )
