# /// script
# requires-python = ">=3.11"
# dependencies = [
#   "bqemulator==1.4.0",
#   "duckdb==1.5.5",
#   "duckdb-extension-avro==1.5.5",
#   "duckdb-extension-spatial==1.5.5",
#   "numpy>=2.4",
# ]
# ///
"""Starts the BigQuery emulator bqemulator, in an environment of its own: what it needs does not go with ours.

python bigquery_emulator.py HOME REST_PORT GRPC_PORT; HOME is an empty folder.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path


def main(home: Path, rest_port: str, grpc_port: str) -> None:
    """Become the emulator."""
    for name in ("avro", "spatial"):
        # DuckDB would fetch its extensions from elsewhere: their wheels are as good.
        found = find_spec(f"duckdb_extension_{name}")
        if found is None or found.origin is None:
            raise ModuleNotFoundError(name)
        file = next(Path(found.origin).parent.glob(f"extensions/*/{name}.duckdb_extension"))
        folder = home / ".duckdb" / "extensions" / file.parent.name / "linux_amd64"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / file.name).symlink_to(file)
    ports = ["--rest-port", rest_port, "--grpc-port", grpc_port]
    os.environ["HOME"] = str(home)
    emulator = str(Path(sys.executable).with_name("bqemulator"))
    os.execv(emulator, [emulator, "start", *ports, "--ephemeral", "--log-level", "error"])


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:4])
