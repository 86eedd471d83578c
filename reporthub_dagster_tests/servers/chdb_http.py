"""ClickHouse's own engine (chdb) behind as much of its HTTP interface as tests need; runs as a process.

python -m reporthub_dagster_tests.servers.chdb_http PORT USER PASSWORD
"""

from __future__ import annotations

import io
import re
import sys
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import chdb
import pyarrow as pa

_NOT_SETTINGS = {
    *("database", "query", "query_id", "default_format", "session_id", "client_protocol_version"),
    *("wait_end_of_query", "cancel_http_readonly_queries_on_client_close"),
}
_CODE = re.compile(r"Code: (\d+)")
_ID = "/* query_id: {} */"


class _Handler(BaseHTTPRequestHandler):
    """One request: a query in the body, its settings and parameters in the URL."""

    protocol_version = "HTTP/1.1"
    user, password = "", ""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it
        """Nothing."""

    def do_POST(self) -> None:
        """Run a query."""
        sql = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        given = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
        if not self._is_let_in():
            self._refuse("Code: 516. DB::Exception: Authentication failed. (AUTHENTICATION_FAILED)")
            return
        try:
            connection = _engine()
            try:
                self._run(connection, sql, given)
            finally:
                connection.close()
        except RuntimeError as error:
            self._refuse(str(error))

    def _is_let_in(self) -> bool:
        names = f"{self.headers.get('X-ClickHouse-User')}:{self.headers.get('X-ClickHouse-Key')}"
        basic = b64encode(f"{self.user}:{self.password}".encode()).decode()
        return (
            names == f"{self.user}:{self.password}" or self.headers.get("Authorization") == f"Basic {basic}"
        )

    def _run(self, connection: Any, sql: str, given: Mapping[str, str]) -> None:
        if database := given.get("database"):
            connection.query(f"USE `{database}`")
        killed = re.search(r"KILL QUERY WHERE query_id = \{\w+:String\}", sql)
        if killed:
            pattern = _ID.format(given.get("param_id", ""))
            connection.query(f"KILL QUERY WHERE query LIKE '%{pattern}%' AND query NOT LIKE 'KILL%' ASYNC")
            self._head()
            self._chunk(b"")
            return
        parameters = {
            key.removeprefix("param_"): value for key, value in given.items() if key[:6] == "param_"
        }
        self._apply(connection, given)
        sql, _, named = sql.rstrip().rpartition("\n FORMAT ") if "\n FORMAT " in sql else (sql, "", "")
        form = named or given.get("default_format", "TabSeparated")
        if not re.match(r"\s*(SELECT|WITH|\()", sql, re.IGNORECASE):
            answer = connection.query(sql, form, params=parameters)
            self._head()
            self._chunk(answer.bytes() if answer is not None else b"")
        else:
            text = f"{_ID.format(given.get('query_id', ''))} {sql}"
            empty = connection.query(f"SELECT * FROM ({sql}) LIMIT 0", form, params=parameters).bytes()
            self._stream(connection.send_query(text, form, params=parameters), form, empty)
        self._chunk(b"")

    def _apply(self, connection: Any, given: Mapping[str, str]) -> None:
        settings = {
            key: value for key, value in given.items() if key not in _NOT_SETTINGS and key[:6] != "param_"
        }
        for key in sorted(settings, key=lambda name: name == "readonly"):
            connection.query(f"SET {key} = '{settings[key]}'")

    def _stream(self, result: Any, form: str, empty: bytes) -> None:
        """The answer as it comes; what fails after the first byte is told at the end of the body."""
        begun = False
        try:
            for piece in _one_stream(result) if form == "ArrowStream" else map(_bytes, result):
                if not begun:
                    self._head()
                begun = True
                self._chunk(piece)
        except RuntimeError as error:
            if not begun:
                raise
            self._chunk(f"\r\n__exception__\r\n{error}\r\n".encode())
        except OSError:
            result.cancel()
            self.close_connection = True
        else:
            if not begun:
                self._head()
                self._chunk(empty)

    def _head(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("X-ClickHouse-Timezone", "UTC")
        self.end_headers()

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def _refuse(self, words: str) -> None:
        code = _CODE.search(words)
        body = words.encode()
        self.send_response(403 if code and code[1] == "516" else 500)
        self.send_header("X-ClickHouse-Exception-Code", code[1] if code else "0")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _bytes(piece: Any) -> bytes:
    return bytes(piece.bytes())


def _one_stream(pieces: Iterable[Any]) -> Iterator[bytes]:
    """The engine makes an Arrow stream of each piece; the server makes one of all."""
    sink = io.BytesIO()
    writer = None
    for piece in pieces:
        reader = pa.ipc.open_stream(piece.bytes())
        writer = writer or pa.ipc.new_stream(sink, reader.schema)
        for batch in reader:
            writer.write_batch(batch)
        yield sink.getvalue()
        sink.seek(0)
        sink.truncate()
    if writer is not None:
        writer.close()
        yield sink.getvalue()


def _engine() -> Any:
    """A connection to the one engine of this process."""
    untyped: Any = chdb
    return untyped.connect(":memory:")


def main(port: int, user: str, password: str) -> None:
    """Serve until the process is ended."""
    _Handler.user, _Handler.password = user, password
    keeper = _engine()  # the engine lives, with its tables, as long as somebody is connected
    keeper.query("SELECT 1")
    server = ThreadingHTTPServer(("127.0.0.1", port), _Handler)
    server.daemon_threads = True
    server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:4])
