"""A fresh database of a server that tests start, whichever server it is."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar


class DatabaseServer(Protocol):
    """A server of databases."""

    @abstractmethod
    def url(self, database: str, /) -> str:
        """The URL of a database, with an account that may do everything."""

    @abstractmethod
    def execute(self, *statements: str, database: str) -> list[tuple[Any, ...]]:
        """Run statements in a database; returns the rows of the last one."""

    @abstractmethod
    def statements(self) -> list[str]:
        """What every other connection runs at this moment."""

    @abstractmethod
    def kill(self) -> None:
        """End it as a power cut would."""


ServerT_co = TypeVar("ServerT_co", bound=DatabaseServer, covariant=True)


@dataclass(frozen=True)
class Database(Generic[ServerT_co]):
    """A fresh database for one test."""

    server: ServerT_co
    name: str

    @property
    def url(self) -> str:
        """Its URL, with an account that may do everything."""
        return self.server.url(self.name)

    def execute(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements in it; returns the rows of the last one."""
        return self.server.execute(*statements, database=self.name)
