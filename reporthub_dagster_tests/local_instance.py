"""An instance of Dagster in a folder, which tells nobody of its use."""

from __future__ import annotations

from pathlib import Path

import dagster as dg


def local_instance(folder: Path) -> dg.DagsterInstance:
    """An instance for a `with` block."""
    return dg.DagsterInstance.local_temp(str(folder), overrides={"telemetry": {"enabled": False}})
