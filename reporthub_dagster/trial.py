"""Trying one data source or one delivery: what was done, how long each step took, what to change."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from reporthub_dagster.checking import CONNECT_SECONDS
from reporthub_dagster.db.repository import Repository
from reporthub_dagster.destinations.base import Parcel
from reporthub_dagster.destinations.environment import DestinationSettings
from reporthub_dagster.planning import connector_for, destination_for, located
from reporthub_dagster.reporting.errors import ConfigurationError, PermanentError, ReportHubError
from reporthub_dagster.reporting.file_name import moment_variables
from reporthub_dagster.reporting.records import Delivery, Recipient, RenderedFile
from reporthub_dagster.reporting.redaction import redact

T = TypeVar("T")
_COPIES = ("cc", "bcc")
_TEXT = b"This file was sent to try a delivery. It holds no report.\r\n"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was tried.

    Attributes:
        detail: What answered, or what to change; redacted.
        milliseconds: How long it took.
    """

    name: str
    succeeded: bool
    detail: str
    milliseconds: int


@dataclass(slots=True)
class Trial:
    """What was tried, up to the first step that failed.

    Attributes:
        subject: What is tried, by table and row.
        error: What failed; None when nothing did.
    """

    subject: str
    steps: list[Step] = field(default_factory=list)
    error: ReportHubError | None = None

    def run(self, name: str, action: Callable[[], T], tell: Callable[[T], str]) -> T | None:
        """Do a step unless an earlier one failed; returns what it gave, or None."""
        if self.error is not None:
            return None
        started = time.monotonic()
        try:
            result = action()
            self._note(name, True, tell(result), started)
        except ReportHubError as error:
            self.error = error
        except Exception as error:  # noqa: BLE001 - what nobody foresaw is told, not thrown at a person
            words = redact(f"{type(error).__name__}: {error}")
            self.error = PermanentError(f"internal error, please report it: {words}")
        else:
            return result
        self._note(name, False, str(self.error), started)
        return None

    def document(self) -> dict[str, Any]:
        """As `--json` prints it."""
        steps = [
            {"name": s.name, "succeeded": s.succeeded, "milliseconds": s.milliseconds, "detail": s.detail}
            for s in self.steps
        ]
        error = str(self.error) if self.error else None
        return {
            "status": "failed" if error else "completed",
            "subject": self.subject,
            "steps": steps,
            "error": error,
        }

    def _note(self, name: str, succeeded: bool, detail: str, started: float) -> None:
        self.steps.append(Step(name, succeeded, detail, round((time.monotonic() - started) * 1000)))


def try_data_source(repository: Repository, row: int) -> Trial:
    """Resolve the host, connect, authenticate, run a trivial query, look at what the account may write."""
    trial = Trial(f"report_datasources {row}")
    source = trial.run(
        "read the row", lambda: repository.data_source(row), lambda found: _told(found.name, found.is_active)
    )
    if source is None:
        return trial

    def asked(question: Callable[[], str]) -> str:
        with located("report_datasources", row):
            return question()

    connector = trial.run("prepare", lambda: connector_for(source), lambda found: _warnings(found.warnings))
    if connector is not None:
        trial.run("resolve", lambda: asked(connector.resolve), str)
        trial.run(
            "connect",
            lambda: asked(lambda: connector.check(CONNECT_SECONDS)),
            lambda product: _answered(product, connector.answer_ms),
        )
        trial.run("rights", lambda: asked(lambda: connector.writes(CONNECT_SECONDS)), _rights)
    return trial


def try_delivery(
    repository: Repository, settings: DestinationSettings, row: int, *, to: str, now: datetime
) -> Trial:
    """Connect, authenticate, and write a probe where that is harmless.

    Args:
        repository: Where the row is.
        settings: The environment's part.
        row: The row of `report_deliveries`.
        to: An address that gets a small file, marked as a test; empty for nobody.
        now: For the texts.
    """
    trial = Trial(f"report_deliveries {row}")
    delivery = trial.run(
        "read the row",
        lambda: repository.delivery(row),
        lambda found: f"{found.method}: {_told(found.name, found.is_active)}",
    )
    if delivery is None:
        return trial
    destination = trial.run(
        "prepare", lambda: destination_for(delivery, settings), lambda found: _warnings(found.warnings)
    )
    if destination is not None:
        trial.run("connect", destination.check, str)
        if to:
            trial.run(f"send to {to}", lambda: _send_test(delivery, settings, to, now), str)
    return trial


def _send_test(delivery: Delivery, settings: DestinationSettings, to: str, now: datetime) -> str:
    """Send a small file to one address, with nobody in copy.

    Raises:
        ReportHubError: It was not sent.
    """
    if delivery.method != "email":
        raise ConfigurationError(
            f"a {delivery.method} delivery has no addresses", column="to", value=to, valid="leave it out"
        )
    destination = destination_for(_to_one(delivery, to), settings)
    with TemporaryDirectory(prefix="reporthub-test-") as folder:
        path = Path(folder) / "reporthub-test.txt"
        path.write_bytes(_TEXT)
        digest = sha256(_TEXT).hexdigest()
        file = RenderedFile(path, path.name, "txt", "text/plain", len(_TEXT), digest, 0)
        parcel = Parcel(f"test-{now:%Y%m%d%H%M%S%f}", (file,), moment_variables(now))
        (receipt,) = destination.send(parcel, destination.recipients())
    if receipt.state != "sent":
        kind = ConfigurationError if receipt.needs_person else PermanentError
        raise kind(f"{receipt.state}: {receipt.detail}")
    return receipt.detail


def _to_one(delivery: Delivery, to: str) -> Delivery:
    options: Mapping[str, Any] = delivery.options
    subject = options.get("subject_template") or options.get("subject") or "{{delivery_name}}"
    kept = {name: value for name, value in options.items() if name not in _COPIES}
    recipient = Recipient(0, "email", to, {})
    return replace(
        delivery, options={**kept, "subject_template": f"[Test] {subject}"}, recipients=(recipient,)
    )


def _told(name: str, active: bool) -> str:
    return name if active else f"{name} (not active)"


def _answered(product: str, milliseconds: float | None) -> str:
    return product if milliseconds is None else f"{product}; a trivial query took {milliseconds:.1f} ms"


def _rights(writes: str) -> str:
    if not writes:
        return "nothing is known that the account could write"
    return f"warning: the account may write ({_shortened(writes)}); give the source one that may only read"


def _shortened(text: str, limit: int = 200) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _warnings(warnings: tuple[str, ...]) -> str:
    return "; ".join(warnings) or "the row is usable"
