"""What every destination is and does: one delivery, sent to each of its recipients, a receipt for each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ClassVar

from reporthub_dagster.destinations.environment import DestinationSettings
from reporthub_dagster.reporting.errors import (
    ConfigurationError,
    ReportHubError,
    TransientError,
    UnreachableError,
)
from reporthub_dagster.reporting.excerpt import MakeExcerpt
from reporthub_dagster.reporting.identity import delivery_identity
from reporthub_dagster.reporting.records import (
    Delivery,
    DeliveryReceipt,
    ReceiptState,
    RenderedFile,
    total_rows,
)
from reporthub_dagster.reporting.redaction import redact, secrets_of_options, unforeseen
from reporthub_dagster.reporting.text_template import fill

_LONGEST_DETAIL = 500
PARCEL_VARIABLES = ("execution_id", "delivery_name", "file_name", "file_names", "row_count")
"""Template variables that every parcel has besides its own: `Destination.values` makes them."""


class LostAnswerError(ReportHubError):
    """Everything was sent and no answer came: nobody can know whether it arrived.

    Args:
        message: What happened.
        silent: The server did not answer in time: see `UnreachableError`.
    """

    def __init__(self, message: str, *, silent: bool = False) -> None:
        super().__init__(message)
        self.silent = silent


@dataclass(frozen=True, slots=True)
class Parcel:
    """What is delivered.

    Attributes:
        execution_id: The execution; message ids and the like are derived from it.
        files: The rendered files, whole.
        variables: Values for the templates in the delivery's settings, as text.
        is_test: It goes to whoever tries the report: what people read is marked.
        excerpt: Makes the first rows for a mail's body; None where there is no report.
    """

    execution_id: str
    files: tuple[RenderedFile, ...]
    variables: Mapping[str, str]
    is_test: bool = False
    excerpt: MakeExcerpt | None = None

    def identity(self, delivery_id: int, recipient: str) -> str:
        """32 hex digits, the same on every attempt: message ids, webhook ids, names of objects."""
        return delivery_identity(self.execution_id, delivery_id, recipient)


class Destination(ABC):
    """One row of `report_deliveries`, ready to send.

    Args:
        delivery: The row with its active recipients. The constructor opens no connection; it checks the row.
        settings: The environment's part.

    Attributes:
        warnings: What was tolerated, one sentence each; sending may add to them.

    Raises:
        ConfigurationError: A setting of the row is not usable, or it has no recipient; names table, row and
            column. A recipient that is not usable does not stop the others: see `problems`.
    """

    method: ClassVar[str]
    """The word of `report_deliveries.method`."""
    repeatable: bool = False
    """True where sending again what may have arrived leaves one and the same thing there."""

    def __init__(self, delivery: Delivery, settings: DestinationSettings) -> None:
        self.delivery = delivery
        self.settings = settings
        self.warnings: tuple[str, ...] = ()

    @abstractmethod
    def recipients(self) -> tuple[str, ...]:
        """Whom a delivery reaches, each once, in a stable order; never empty."""

    @abstractmethod
    def send(self, parcel: Parcel, recipients: Sequence[str]) -> Generator[DeliveryReceipt, None, None]:
        """Send to each of `recipients` (part of `recipients()`); yield its receipt as soon as it is known.

        Receipts come in the order of `recipients`. No byte for a recipient leaves before its receipt is asked
        for, so that the caller can record what it is about to do. Callers that may stop early close the
        generator (`contextlib.closing`): that closes the connection.

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

    def server_of(self, recipient: str) -> str | None:  # noqa: ARG002 - for those who have servers
        """What a recipient has in common with every delivery that goes to the same server, as `smtp://host:25`.

        None where there is no server that could be away.
        """
        return None

    def problems(self) -> tuple[ConfigurationError, ...]:
        """Recipients that cannot be reached as their rows stand; sending to them gives `refused` receipts."""
        return ()

    def templates(self) -> Mapping[str, str]:
        """Every setting of the row that is a template: its name → its text, for checking placeholders."""
        return {}

    def unknown_variables(self, parcel: Parcel) -> tuple[str, ...]:
        """A warning for every placeholder of `templates()` that will stay as written."""
        values = self.values(parcel)
        return tuple(
            f"{place}: {{{{{name}}}}} has no value and stays as written"
            for place, text in self.templates().items()
            for name in fill(text, values).unknown
        )

    def values(self, parcel: Parcel) -> dict[str, str]:
        """What the templates of this delivery may use: the parcel's variables and `PARCEL_VARIABLES`."""
        names = [file.name for file in parcel.files]
        own = (
            parcel.execution_id,
            self.delivery.name,
            names[0] if names else "",
            ", ".join(names),
            str(total_rows(parcel.files)),
        )
        return {**dict(zip(PARCEL_VARIABLES, own, strict=True)), **parcel.variables}

    def _warn(self, *sentences: str) -> None:
        place = f"report_deliveries {self.delivery.id}"
        placed = (s if s.startswith("report_") else f"{place}: {s}" for s in sentences)
        self.warnings = tuple(dict.fromkeys((*self.warnings, *placed)))

    def _secrets(self) -> frozenset[str]:
        """Texts that no receipt and no error may show."""
        return secrets_of_options(self.delivery.options)

    def _attempted(self, recipient: str, send: Callable[[], str]) -> DeliveryReceipt:
        """The receipt for what `send` says or raises."""
        try:
            detail = send()
        except TransientError as error:
            away = isinstance(error, UnreachableError)
            return self._receipt(
                recipient, "retry", str(error), retry_after=error.retry_after, unreachable=away
            )
        except LostAnswerError as error:
            return self._receipt(recipient, "unknown", str(error), unreachable=error.silent)
        except ReportHubError as error:
            fix = isinstance(error, ConfigurationError)
            return self._receipt(recipient, "refused", str(error), needs_person=fix)
        except Exception as error:  # noqa: BLE001 - whatever it is, it may quote a password
            raise unforeseen(error, self._secrets()) from None
        return self._receipt(recipient, "sent", detail)

    def _stranger(self, recipient: str) -> DeliveryReceipt:
        """The receipt of somebody whom the row does not name."""
        detail = "this is not a recipient of the delivery"
        return self._receipt(recipient, "refused", detail, needs_person=True)

    def _receipt(
        self,
        recipient: str,
        state: ReceiptState,
        detail: str,
        *,
        needs_person: bool = False,
        retry_after: float | None = None,
        unreachable: bool = False,
    ) -> DeliveryReceipt:
        return DeliveryReceipt(
            delivery_id=self.delivery.id,
            recipient=recipient,
            state=state,
            detail=redact(" ".join(detail.split()), self._secrets())[:_LONGEST_DETAIL],
            at=datetime.now(UTC),
            needs_person=needs_person,
            retry_after=retry_after,
            unreachable=unreachable,
        )

    def _misconfigured(
        self, problem: str, setting: str, *, value: object = None, valid: str | None = None
    ) -> ConfigurationError:
        """An error in one setting of `delivery_config`."""
        return ConfigurationError(
            problem,
            table="report_deliveries",
            row=self.delivery.id,
            column=f"delivery_config.{setting}" if setting else "delivery_config",
            value=value,
            valid=valid,
        )
