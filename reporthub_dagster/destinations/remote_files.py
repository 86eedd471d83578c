"""What destinations have in common that put files at paths of another machine: who gets them, and where."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import ClassVar, Generic, Protocol, TypeVar

from reporthub_dagster.destinations.base import Destination, Parcel
from reporthub_dagster.destinations.remote_path import RemotePath, override_of
from reporthub_dagster.reporting.records import DeliveryReceipt, Recipient


class _Closable(Protocol):
    def close(self) -> object: ...


W = TypeVar("W", bound=_Closable)


class RemoteFiles(Destination, Generic[W]):
    """Recipients are the rows, each a label or a path of its own; without rows, the path of the delivery.

    A file of the same name is replaced in one step, so that sending again is harmless.
    """

    repeatable = True
    overrides: ClassVar[tuple[str, ...]]
    """What a recipient row may call a path of its own, in `recipient_config` or as its type."""
    _paths: Mapping[str, RemotePath]

    def recipients(self) -> tuple[str, ...]:
        """Labels and paths."""
        return tuple(self._paths)

    def templates(self) -> Mapping[str, str]:
        """The paths."""
        paths = self._paths.values()
        return {f"{path.table} {path.row}, {path.column}": path.template for path in paths}

    def send(self, parcel: Parcel, recipients: Sequence[str]) -> Generator[DeliveryReceipt, None, None]:
        """Put every file where each recipient wants it."""
        with closing(self._way()) as way:
            for recipient in recipients:
                path = self._paths.get(recipient)
                if path is None:
                    yield self._stranger(recipient)
                else:
                    yield self._attempted(recipient, partial(self._deliver, way, parcel, path))

    @abstractmethod
    def _way(self) -> W:
        """What carries the files; it connects when it is first needed."""

    @abstractmethod
    def _deliver(self, way: W, parcel: Parcel, path: RemotePath) -> str:
        """Put every file there; says where they are.

        Raises:
            ReportHubError: A file cannot be put there.
        """

    @abstractmethod
    def _is_path(self, name: str) -> bool:
        """Whether a recipient's value is a path rather than a label."""

    def _own_path(self, row: Recipient, template: str, column: str) -> RemotePath:
        return RemotePath(template, "report_delivery_recipients", row.id, column)

    def _find_paths(self, common: RemotePath, name: str) -> dict[str, RemotePath]:
        """Recipient → path.

        Args:
            common: For those without a path of their own.
            name: Of the only recipient, where there is neither a row nor a path.
        """
        found: dict[str, RemotePath] = {}
        for row in self.delivery.recipients:
            value = row.value.strip()
            own = override_of(row, *self.overrides)
            if own is None and self._is_path(value):
                own = (value, "recipient_value")
            if value:
                found.setdefault(value, self._own_path(row, *own) if own else common)
        return found or {common.template or name: common}
