"""What every destination is and does: one delivery, sent to each of its recipients, a receipt for each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from reporthub_dagster.reporting.records import Delivery, DeliveryReceipt, RenderedFile


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """The mail server of the environment, for e-mail deliveries without one of their own.

    Attributes:
        use_tls: STARTTLS after connecting; port 465 and `use_ssl` mean TLS from the first byte.
        ca_file: PEM file of the certificate authorities to trust instead of the system's; None for those.
    """

    host: str
    port: int
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    from_email: str | None = None
    use_tls: bool = True
    use_ssl: bool = False
    ca_file: str | None = None


@dataclass(frozen=True, slots=True)
class Parcel:
    """What is delivered.

    Attributes:
        execution_id: The execution; message ids and the like are derived from it.
        files: The rendered files, whole.
        variables: Values for the templates in the delivery's settings, as text.
    """

    execution_id: str
    files: tuple[RenderedFile, ...]
    variables: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class DestinationSettings:
    """What destinations get from the environment rather than from their row."""

    smtp: SmtpServer | None = None
    timeout_seconds: float = 30.0


class Destination(ABC):
    """One row of `report_deliveries`, ready to send.

    Args:
        delivery: The row with its active recipients. The constructor opens no connection; it checks the row.
        settings: The environment's part.

    Raises:
        ConfigurationError: A setting or a recipient of the row is not usable; names table, row and column.
    """

    method: ClassVar[str]
    """The word of `report_deliveries.method`."""

    def __init__(self, delivery: Delivery, settings: DestinationSettings) -> None:
        self.delivery = delivery
        self.settings = settings
        self.warnings: tuple[str, ...] = ()

    @abstractmethod
    def recipients(self) -> tuple[str, ...]:
        """Whom a delivery reaches, each once, in a stable order; never empty."""

    @abstractmethod
    def send(self, parcel: Parcel, recipients: Sequence[str]) -> Iterator[DeliveryReceipt]:
        """Send to each of `recipients` (part of `recipients()`); yield its receipt as soon as it is known.

        Failures are receipts, not exceptions: `retry` for what may work later, `refused` for what will not,
        `unknown` where the payload was sent and the answer lost. When the connection fails as a whole, every
        recipient that is left gets a receipt. `detail` is redacted.
        """

    @abstractmethod
    def check(self) -> str:
        """Reach and authenticate at the destination without delivering anything; returns what answered.

        Raises:
            ConfigurationError: It refuses us; a person must change the row.
            TransientError: It is not there at the moment.
        """
