"""The code location with short leases, so that no test waits a minute for a run to count as dead."""

from __future__ import annotations

from reporthub_dagster.db import leases
from reporthub_dagster.definitions import defs

__all__ = ["defs"]

leases.BEAT_SECONDS, leases.LEASE_SECONDS = 1.0, 8.0
