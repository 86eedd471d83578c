"""What the environment says to connectors; knows no Dagster, which loads slowly."""

from __future__ import annotations

from pathlib import Path

from reporthub_dagster.connectors.source_settings import SourceSettings
from reporthub_dagster.db.host_keys import PinnedHostKeys
from reporthub_dagster.db.session import Hub
from reporthub_dagster.settings import Settings, secret_of


def source_settings(settings: Settings) -> SourceSettings:
    """What connectors get from the environment."""
    roots = (part.strip() for part in settings.file_roots.split(","))
    return SourceSettings(
        egress=settings.egress_policy,
        file_roots=tuple(Path(root).absolute() for root in roots if root),
        fetch_bytes=settings.fetch_limit_mb * 1_000_000,
        fetch_seconds=settings.fetch_timeout_seconds,
        memory_mb=settings.engine_memory_mb,
        secret=secret_of,
        host_keys=PinnedHostKeys(lambda: Hub(settings.hub_url, settings.hub_zone)),
        refuse_unknown_hosts=settings.sftp_unknown_hosts == "refuse",
    )
