"""What the environment says to connectors; knows no Dagster, which loads slowly."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

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
        own_files=tuple(_own_files(settings)),
        fetch_bytes=settings.fetch_limit_mb * 1_000_000,
        fetch_seconds=settings.fetch_timeout_seconds,
        memory_mb=settings.engine_memory_mb,
        secret=secret_of,
        host_keys=PinnedHostKeys(lambda: Hub(settings.hub_url, settings.hub_zone)),
        refuse_unknown_hosts=settings.sftp_unknown_hosts == "refuse",
    )


def _own_files(settings: Settings) -> Iterator[Path]:
    """The shared database where it is a file, and the folder of Dagster's."""
    yield Path(os.environ.get("DAGSTER_HOME") or settings.dagster_home)
    with suppress(ArgumentError):  # who opens it says what is wrong with it
        hub = make_url(settings.hub_url)
        if hub.get_backend_name() == "sqlite" and hub.database:
            yield Path(hub.database)
