"""Links that stand in a mail for files too large for it: an operator's address, or presigned ones of S3."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from pydantic import field_validator

from reporthub_dagster.destinations.base import Destination, Parcel
from reporthub_dagster.destinations.environment import DestinationSettings
from reporthub_dagster.destinations.row_settings import RowSettings
from reporthub_dagster.plugins import Entry, Registry
from reporthub_dagster.reporting.errors import ConfigurationError
from reporthub_dagster.reporting.records import Delivery

if TYPE_CHECKING:
    from reporthub_dagster.destinations.s3 import S3Destination

_MOST_DAYS = 7.0
_COLUMN = "delivery_config"
_S3: Registry[Destination] = Registry(
    "destination",
    table="report_deliveries",
    column=f"{_COLUMN}.link_s3",
    entries={"S3": Entry("reporthub_dagster.destinations.s3:S3Destination", extra="s3")},
)
"""Loaded for the rows that want such links."""


@dataclass(frozen=True, slots=True)
class FileLink:
    """Where people find files.

    Attributes:
        names: Of the files.
        url: Whoever has it has the file: it is no text for a log.
        until: When it ends; None where nobody knows.
    """

    names: str
    url: str = field(repr=False)
    until: datetime | None = None


MakeLinks = Callable[[], tuple[FileLink, ...]]


class _Terms(RowSettings):
    """What `link_s3` says besides the keys of an S3 row.

    Attributes:
        expires_days: How long a link works.
    """

    expires_days: float = _MOST_DAYS

    @field_validator("expires_days")
    @classmethod
    def _signable(cls, days: float) -> float:
        if not 0 < days <= _MOST_DAYS:
            raise ValueError(f"more than 0 and at most {_MOST_DAYS:g} days: S3 signs links for no longer")
        return days


class LinkBucket:
    """The bucket of `delivery_config.link_s3`: files are put there when a mail needs links to them.

    Args:
        options: `link_s3` as the row has it.
        delivery: The row.
        settings: The environment's part.

    Raises:
        ConfigurationError: A setting is not usable; names `delivery_config.link_s3.…`.
    """

    def __init__(self, options: Mapping[str, Any], delivery: Delivery, settings: DestinationSettings) -> None:
        with _in_link_s3():
            self._lifetime = timedelta(days=_Terms.of_row(options, delivery.id).expires_days)
            own = {key: value for key, value in options.items() if key != "expires_days"}
            if not own.get("key"):
                own["prefix"] = f"{own.get('prefix') or ''}/{{{{execution_id}}}}"
            row = replace(delivery, options=own, recipients=())
            self._destination: S3Destination = _S3.get("S3", row=delivery.id)(row, settings)  # type: ignore[assignment]
        self.warnings = self._destination.warnings

    def links(self, parcel: Parcel) -> tuple[FileLink, ...]:
        """Put the files there and sign a link to each.

        Raises:
            ConfigurationError, TransientError, PermanentError: A file cannot be put there.
        """
        until = datetime.now(UTC) + self._lifetime
        with _in_link_s3():
            signed = self._destination.publish(parcel, self._lifetime)
        return tuple(FileLink(name, url, until) for name, url in signed)

    def check(self) -> str:
        """Whether the bucket takes files.

        Raises:
            ConfigurationError, TransientError: It does not.
        """
        with _in_link_s3():
            return self._destination.check()


@contextmanager
def _in_link_s3() -> Iterator[None]:
    """Name the place in the row where the bucket's settings are."""
    try:
        yield
    except ConfigurationError as error:
        within = (error.column or "").removeprefix(_COLUMN).removeprefix(".link_s3")
        raise ConfigurationError(
            error.problem,
            table=error.table,
            row=error.row,
            column=f"{_COLUMN}.link_s3{within}",
            value=error.value,
            valid=error.valid,
        ) from None
