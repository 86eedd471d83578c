"""An HTTP API on this machine: the planes of the demo's flights, page by page, for who has its key."""

from __future__ import annotations

import csv
import json
import secrets
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from demo.flights import data_folder

_PAGE = 500
_PLANES_ROW = 3


@contextmanager
def planes_api(hub: Path) -> Iterator[dict[str, str]]:
    """Serve on a free loopback port, and tell the demo's row; yields the environment that lets it be reached.

    Args:
        hub: The demo's database; where it is another one, nothing is told.
    """
    key = secrets.token_hex(16)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(_planes(), key))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        if hub.exists():
            _tell(hub, f"http://127.0.0.1:{server.server_port}/planes")
        yield {"REPORTHUB_EGRESS_ALLOW": "127.0.0.1", "DEMO_API_KEY": key}
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _tell(hub: Path, url: str) -> None:
    with closing(sqlite3.connect(hub)) as database, database:
        database.execute(
            "UPDATE report_datasources SET connection_url = ? WHERE id = ? AND name = 'planes'",
            (url, _PLANES_ROW),
        )


def _planes() -> list[dict[str, object]]:
    with (data_folder() / "planes.csv").open(encoding="utf-8", newline="") as file:
        return [
            {
                "tailnum": row["tailnum"],
                "model": {"manufacturer": row["manufacturer"].title(), "name": row["model"]},
                "seats": int(row["seats"]),
            }
            for row in csv.DictReader(file)
        ]


def _handler(planes: list[dict[str, object]], key: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            allowed = self.headers.get("X-Api-Key") == key
            asked = parse_qs(urlsplit(self.path).query)
            first = (int(asked.get("page", ["1"])[0]) - 1) * _PAGE
            document = {"planes": planes[first : first + _PAGE]} if allowed else {"error": "wrong key"}
            body = json.dumps(document).encode()
            self.send_response(200 if allowed else 401)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keep the terminal to the demo's own words."""

    return Handler
