"""What holds for the tests of every kind."""

from __future__ import annotations

import pytest

from reporthub_dagster.connectors import http_fetch


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between attempts over HTTP."""
    monkeypatch.setattr(http_fetch, "FIRST_PAUSE", 0.01)
