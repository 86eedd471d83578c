"""A process that delivers and dies at a chosen moment."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reporthub_dagster.db.deliveries import DeliveryLedger
from reporthub_dagster_tests import forked
from reporthub_dagster_tests.prepared import Prepared

MOMENTS = ("before", "begun", "sent", "answered")
"""Before the ledger knows of a recipient's turn, before the first byte, after the last, after the answer."""


def run_and_die(home: Path, moment: str, recipient: str) -> int:
    """Deliver until that moment; the exit status."""
    return forked.ended(forked.start(_deliver, home, moment, recipient, log=home / "delivery.log"))


def _dying(method: Callable[..., Any], victim: str, *, before: bool) -> Callable[..., Any]:
    def call(self: DeliveryLedger, *arguments: Any, **options: Any) -> None:
        last = arguments[-1]
        is_turn = getattr(last, "recipient", last) == victim
        if is_turn and before:
            os.kill(os.getpid(), signal.SIGKILL)
        method(self, *arguments, **options)
        if is_turn:
            os.kill(os.getpid(), signal.SIGKILL)

    return call


def _deliver(home: Path, moment: str, victim: str) -> None:
    """Deliver, with the ledger made deadly."""
    name = "begin" if moment in {"before", "begun"} else "answer"
    deadly = _dying(getattr(DeliveryLedger, name), victim, before=moment in {"before", "sent"})
    setattr(DeliveryLedger, name, deadly)
    Prepared(home).deliver()
