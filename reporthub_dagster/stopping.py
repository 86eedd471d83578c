"""Whether this process has been told to stop: then an interrupt is no person's wish to cancel a report."""

from __future__ import annotations

from threading import Event

_stopping = Event()


class StoppingError(Exception):
    """What an op waits for is away, and this process must stop: no outcome of a report."""


def stop() -> None:
    """From now on interrupts mean that another process shall go on."""
    _stopping.set()


def is_stopping() -> bool:
    """Whether it has."""
    return _stopping.is_set()
