"""What connectors get from the environment rather than from their row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from reporthub_dagster.network.egress import EgressPolicy
from reporthub_dagster.reporting.errors import ConfigurationError
from reporthub_dagster.reporting.host_keys import HostKeys


def _no_secrets(name: str) -> str:
    raise ConfigurationError("there are no secrets here", value=name)


@dataclass(frozen=True, slots=True)
class SourceSettings:
    """The environment's part.

    Attributes:
        egress: Which addresses may be reached by URLs of rows.
        file_roots: Folders of this machine that files may be read from.
        own_files: Databases of ReportHub and folders of them: no row may name these.
        fetch_bytes: The most that one query may fetch, and what that may be unpacked.
        fetch_seconds: For connecting to a file or HTTP server, and for each answer.
        memory_mb: What the engine for files, APIs and joins may use before it spills to disk.
        secret: The secret that a row names by its environment variable.
        host_keys: Keys of machines that were connected to; None where nothing can be kept.
        refuse_unknown_hosts: A machine whose key nobody gave is not connected to.
    """

    egress: EgressPolicy = field(default_factory=EgressPolicy)
    file_roots: tuple[Path, ...] = ()
    own_files: tuple[Path, ...] = ()
    fetch_bytes: int = 2_000_000_000
    fetch_seconds: float = 30.0
    memory_mb: int = 512
    secret: Callable[[str], str] = _no_secrets
    host_keys: HostKeys | None = None
    refuse_unknown_hosts: bool = False
