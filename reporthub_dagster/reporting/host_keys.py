"""What is known about the machines that a delivery signs in to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import datetime


class HostKeys(ABC):
    """The keys by which machines were recognised when they were first connected to."""

    @abstractmethod
    def find(self, host: str, port: int) -> str | None:
        """The key of a machine as `ssh-ed25519 AAAA…`; None when it was never connected to."""

    @abstractmethod
    def pin(self, host: str, port: int, key: str, now: datetime) -> str:
        """Keep the key of a machine unless there is one; returns the one that is kept."""
