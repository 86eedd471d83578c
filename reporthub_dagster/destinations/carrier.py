"""The connection of one delivery: made when it is first needed, made again after it was lost."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Generic, TypeVar

from reporthub_dagster.reporting.errors import ReportHubError


class Session(ABC):
    """A connection that is signed in."""

    @abstractmethod
    def close(self) -> None:
        """End it, in whatever state it is; never raises."""


S = TypeVar("S", bound=Session)


class Carrier(Generic[S]):
    """Keeps the session of one delivery.

    Args:
        connect: Signs in; raises what is wrong as one of our errors.
    """

    def __init__(self, connect: Callable[[], S]) -> None:
        self._connect = connect
        self._session: S | None = None
        self._failure: ReportHubError | None = None

    def session(self) -> S:
        """Signed in.

        Raises:
            ReportHubError: It cannot be had; the same for everybody who asks later.
        """
        if self._failure is not None:
            raise self._failure
        if self._session is None:
            try:
                self._session = self._connect()
            except ReportHubError as error:
                self._failure = error
                raise
        return self._session

    def close(self) -> None:
        """End the session, if there is one; whoever asks later gets a new one."""
        if self._session is not None:
            self._session.close()
            self._session = None
