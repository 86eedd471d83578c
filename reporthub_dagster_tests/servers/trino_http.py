"""A stand-in for Trino: as much of its client protocol as tests need, over DuckDB; runs as a process.

python -m reporthub_dagster_tests.servers.trino_http PORT USER PASSWORD CERTIFICATE
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import ssl
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote_plus

import duckdb
import pyarrow as pa
import sqlglot
from sqlglot import exp

ENGINE = duckdb.connect(":memory:")
PAGE_ROWS = 5_000
READER = "reader"
"""A user that may only read."""
_IMMEDIATE = re.compile(r"EXECUTE IMMEDIATE '((?:[^']|'')*)'(?: USING (.*))?", re.DOTALL)
_NUMBERS = {"varchar": [2**31 - 1], "timestamp": [6], "timestamp with time zone": [6]}
"""The arguments of types that have no other here."""
_FAULTS = (
    (duckdb.ParserException, "SYNTAX_ERROR"),
    (duckdb.CatalogException, "TABLE_NOT_FOUND"),
    (duckdb.BinderException, "COLUMN_NOT_FOUND"),
)


class Refusal(Exception):  # noqa: N818 - the protocol's answer, not a fault of the stand-in
    """An error as the protocol tells it."""

    def __init__(self, name: str, message: str, kind: str = "USER_ERROR") -> None:
        super().__init__(message)
        self.told = {"message": message, "errorCode": 1, "errorName": name, "errorType": kind}


@dataclass
class Query:
    """A running query: its pages are made one ahead of what was asked for."""

    sql: str
    seconds: float
    id: str = field(default_factory=lambda: f"20240229_{secrets.token_hex(4)}")
    pages: list[dict[str, Any]] = field(default_factory=list)
    done: bool = False
    canceled: str = ""
    asked: int = -1
    most_bytes: int = 16_000_000
    """Of a page, unless a request says so."""
    changed: threading.Condition = field(default_factory=threading.Condition)

    def start(self, schema: str) -> None:
        """Run it in a thread of its own."""
        self.cursor = ENGINE.cursor()
        with suppress(duckdb.CatalogException):  # Trino, too, minds no schema that nobody asks
            self.cursor.execute(f"USE {schema}")
        timer = threading.Timer(self.seconds, self.cancel, ["EXCEEDED_TIME_LIMIT"])
        timer.daemon = True
        timer.start()
        threading.Thread(target=self._run, args=[timer], daemon=True).start()

    def cancel(self, name: str) -> None:
        """Stop it, and say why."""
        with self.changed:
            if not self.done:
                self.canceled = self.canceled or name
                self.cursor.interrupt()
                self.changed.notify_all()

    def page(self, token: int) -> dict[str, Any] | None:
        """A page of its answer; None when it takes longer than a second."""
        with self.changed:
            self.asked = max(self.asked, token)
            self.changed.notify_all()
            self.changed.wait_for(lambda: self.canceled or self.done or len(self.pages) > token, 1.0)
            if self.canceled:
                return {"error": Refusal(self.canceled, "the query was stopped").told}
            if len(self.pages) > token:
                page = self.pages[token]
                self.pages[: max(token - 1, 0)] = [{}] * max(token - 1, 0)
                return page
            return {} if self.done else None

    def _run(self, timer: threading.Timer) -> None:
        try:
            translated = sqlglot.transpile(self.sql, read="trino", write="duckdb")[0]
            reader = self.cursor.sql(translated).to_arrow_reader(PAGE_ROWS)
            columns = [_column(one) for one in reader.schema]
            self._put({"columns": columns})
            for batch in reader:
                rows = max(self.most_bytes * batch.num_rows // (batch.nbytes + 1), 1)
                for start in range(0, batch.num_rows, rows):
                    texts = [_values(column) for column in batch.slice(start, rows).columns]
                    self._put({"columns": columns, "data": list(map(list, zip(*texts, strict=True)))})
        except Exception as error:  # noqa: BLE001 - whatever it is, the protocol tells it
            self.pages.append({"error": _told(error)})
        with self.changed:
            self.done = True
            self.changed.notify_all()
        timer.cancel()

    def _put(self, page: dict[str, Any]) -> None:
        with self.changed:
            self.pages.append(page)
            self.changed.notify_all()
            self.changed.wait_for(lambda: self.canceled or self.asked + 2 > len(self.pages))
            if self.canceled:
                raise Refusal(self.canceled, "the query was stopped")


QUERIES: dict[str, Query] = {}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    login, where = "", ""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it
        """Nothing."""

    def do_POST(self) -> None:
        """A statement; of the path /execute, one of the tests' own, run by the engine as it is."""
        sql = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        if self.path == "/execute":
            self._answer(json.dumps(ENGINE.cursor().execute(sql).fetchall(), default=str).encode())
            return
        if not self._is_let_in():
            self._answer(b"Access Denied: Invalid credentials", status=401)
            return
        try:
            self._statement(sql)
        except Refusal as refusal:
            self._json({"error": refusal.told})
        except Exception as error:  # noqa: BLE001 - as above
            self._json({"error": _told(error)})

    def do_GET(self) -> None:
        """A page of a query, or the list of those that run."""
        if self.path == "/v1/query":
            listed = [{"query": query.sql} for query in QUERIES.values() if not query.done]
            self._answer(json.dumps(listed).encode())
            return
        path, _, given = self.path.partition("?")
        _, _, _, _, name, token = path.split("/")
        query = QUERIES.get(name)
        if query is None:
            self._answer(b"Query not found", status=404)
            return
        if given:
            query.most_bytes = int(given.removeprefix("targetResultSize=").removesuffix("MB")) * 1_000_000
        page = query.page(int(token))
        uri = f"{self.where}/v1/statement/executing/{name}"
        if page is None:
            self._json({"id": name, "nextUri": f"{uri}/{token}"})
        elif page and "error" not in page:
            self._json({"id": name, **page, "nextUri": f"{uri}/{int(token) + 1}"})
        else:
            self._json({"id": name, **page})

    def do_DELETE(self) -> None:
        """The end of a query."""
        query = QUERIES.get(self.path.split("/")[4])
        if query is not None:
            query.cancel("USER_CANCELED")
        self._answer(b"", status=204)

    def _is_let_in(self) -> bool:
        given = self.headers.get("Authorization", "")
        accepted = {self.login, f"{READER}:{self.login.partition(':')[2]}"}
        return given == "Bearer a.json.token" or given in {
            f"Basic {base64.b64encode(one.encode()).decode()}" for one in accepted
        }

    def _statement(self, sql: str) -> None:
        if sql == "START TRANSACTION READ ONLY":
            self._json({}, {"X-Trino-Started-Transaction-Id": secrets.token_hex(8)})
            return
        if sql == "ROLLBACK":
            self._json({}, {"X-Trino-Clear-Transaction-Id": "true"})
            return
        if sql.startswith("EXPLAIN (TYPE VALIDATE) "):
            if self.headers["X-Trino-User"] == READER:
                raise Refusal("PERMISSION_DENIED", "Access Denied: Cannot create table")
            self._json({"columns": [_column(pa.field("Valid", pa.bool_()))], "data": [[True]]})
            return
        sql = _with_values(sql).replace("version()", "'480 (stand-in)'")
        sql = sql.replace('"memory".information_schema', "information_schema")
        if not isinstance(sqlglot.parse_one(sql, read="trino"), exp.Query):
            if self.headers.get("X-Trino-Transaction-Id", "NONE") != "NONE":
                raise Refusal("READ_ONLY_VIOLATION", "Cannot execute write in a read-only transaction")
            raise Refusal("NOT_SUPPORTED", "the stand-in only reads")
        session = dict(one.split("=") for one in self.headers["X-Trino-Session"].split(","))
        query = Query(sql, float(unquote_plus(session["query_max_run_time"]).rstrip("s")))
        QUERIES[query.id] = query
        catalog, schema = self.headers.get("X-Trino-Catalog"), self.headers.get("X-Trino-Schema")
        query.start(f'"{catalog}"."{schema}"')
        self._json({"id": query.id, "nextUri": f"{self.where}/v1/statement/executing/{query.id}/0"})

    def _json(self, document: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        whole = {
            "id": "none",
            "infoUri": self.where,
            "stats": {"state": "RUNNING"},
            "warnings": [],
            **document,
        }
        self._answer(json.dumps(whole).encode(), headers)

    def _answer(self, body: bytes, headers: dict[str, str] | None = None, status: int = 200) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _with_values(sql: str) -> str:
    """A statement with the values of its USING at their places, as the server binds them."""
    found = _IMMEDIATE.fullmatch(sql)
    if found is None:
        return sql
    values = sqlglot.parse_one(f"SELECT {found[2]}", read="trino").expressions
    text = found[1].replace("''", "'")
    places = [one.start for one in sqlglot.tokenize(text, read="trino") if one.text == "?"]
    places = [place for place in places if text[place] == "?"]
    for place, value in reversed(list(zip(places, values, strict=True))):
        text = f"{text[:place]}{value.sql('trino')}{text[place + 1 :]}"
    return text


def _told(error: Exception) -> dict[str, Any]:
    if isinstance(error, Refusal):
        return error.told
    if isinstance(error, sqlglot.errors.SqlglotError):
        return Refusal("SYNTAX_ERROR", str(error)).told
    name = next((name for kind, name in _FAULTS if isinstance(error, kind)), "GENERIC_USER_ERROR")
    return Refusal(name, str(error)).told


def _column(one: pa.Field) -> dict[str, Any]:
    kind = _kind(one.type)
    numbers = _NUMBERS.get(kind, [])
    if pa.types.is_decimal(one.type):
        numbers = [one.type.precision, one.type.scale]
    arguments = [{"kind": "LONG", "value": number} for number in numbers]
    return {"name": one.name, "type": kind, "typeSignature": {"rawType": kind, "arguments": arguments}}


def _kind(kind: pa.DataType) -> str:
    if pa.types.is_decimal(kind):
        return "decimal"
    if pa.types.is_timestamp(kind):
        return "timestamp with time zone" if kind.tz else "timestamp"
    names = {
        pa.bool_(): "boolean",
        pa.int32(): "integer",
        pa.int64(): "bigint",
        pa.float64(): "double",
        pa.date32(): "date",
        pa.utf8(): "varchar",
    }
    return names[kind]


def _values(column: pa.Array) -> list[Any]:
    kind = _kind(column.type)
    if kind in ("decimal", "date", "timestamp"):
        return [None if value is None else str(value) for value in column.to_pylist()]
    return list(column.to_pylist())


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients hang up."""


def main(port: int, user: str, password: str, certificate: str) -> None:
    """Serve until the process is ended."""
    _Handler.login, _Handler.where = f"{user}:{password}", f"https://127.0.0.1:{port}"
    server = _Server(("127.0.0.1", port), _Handler)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:5])
