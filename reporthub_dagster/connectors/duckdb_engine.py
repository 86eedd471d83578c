"""DuckDB inside this process, locked: no file, network, extension or setting that we have not given it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from reporthub_dagster.storage.atomic import TEMPORARY_SUFFIX


@dataclass(frozen=True, slots=True)
class Engine:
    """What a query may use of this machine.

    Attributes:
        scratch: Folder for what does not fit into memory.
        memory_mb: Of the engine; results stream and come on top.
    """

    scratch: Path
    memory_mb: int = 512
    threads: int = 2

    def start(self) -> duckdb.DuckDBPyConnection:
        """An engine with an empty database in memory; `lock` it before other people's SQL runs."""
        connection = duckdb.connect(
            ":memory:",
            config={
                "threads": str(self.threads),
                "memory_limit": f"{self.memory_mb}MB",
                "temp_directory": str(self.scratch),
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
                "allow_persistent_secrets": "false",
            },
        )
        connection.execute("SET TimeZone = 'UTC'")
        # Rows wait in it for whoever reads them; more of it is not faster, and is memory of every report.
        connection.execute("SET max_streaming_buffer_size = '100KB'")
        return connection


def lock(connection: duckdb.DuckDBPyConnection, readable: Iterable[Path] = ()) -> None:
    """Take away every way out, for good; what is attached or registered stays, and `readable` files."""
    paths = ", ".join(literal(path) for path in readable)
    connection.execute(f"SET allowed_paths = [{paths}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def literal(text: object) -> str:
    """A text as SQL has it."""
    return "'{}'".format(str(text).replace("'", "''"))


@contextmanager
def scratch_in(folder: Path | None) -> Iterator[Path]:
    """A folder that is gone afterwards, in the execution's own where there is one."""
    with TemporaryDirectory(prefix=".", suffix=TEMPORARY_SUFFIX, dir=folder) as name:
        yield Path(name)
