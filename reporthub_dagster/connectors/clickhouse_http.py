"""ClickHouse's HTTP interface: one query on one connection, its answer read as it comes.

https://clickhouse.com/docs/interfaces/http. The standard library's client is all it takes: an answer is a
file to Arrow, and a query is stopped by closing its socket and by its name.
"""

from __future__ import annotations

import http.client
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from reporthub_dagster.network.limited_response import limited_response
from reporthub_dagster.reporting.bound_query import Bind, BoundQuery
from reporthub_dagster.reporting.decimal_text import decimal_text

_EXCEPTION = re.compile(rb"Code: (\d+)\. DB::Exception: (.*)", re.DOTALL)
_TAIL_BYTES = 16_384
_DOCUMENT_BYTES = 16_000_000
_PIECE = 1 << 20
_INT64_BITS = 63


class ClickHouseError(Exception):
    """The server's word that it will not, or can not go on.

    Args:
        code: As ClickHouse's src/Common/ErrorCodes.cpp numbers them; 0: none given.
        words: Its message.
    """

    def __init__(self, code: int, words: str) -> None:
        super().__init__(words)
        self.code = code


@dataclass(frozen=True)
class Server:
    """Where queries go, and as whom.

    Attributes:
        tls: None for plain HTTP.
        connect_seconds: To reach it.
        read_seconds: To wait for its next word.
    """

    host: str
    port: int
    database: str
    user: str
    password: str = field(repr=False)
    tls: ssl.SSLContext | None
    connect_seconds: float
    read_seconds: float

    def brief(self, seconds: float) -> Server:
        """The same server, for a statement that must not take long."""
        return replace(self, connect_seconds=seconds, read_seconds=seconds)

    def ask(self, sql: str, arguments: Mapping[str, str]) -> Answer:
        """Send a statement.

        Raises:
            ClickHouseError: It is refused.
            OSError, http.client.HTTPException: The server is not there, or goes away.
        """
        connection: http.client.HTTPConnection
        if self.tls is None:
            connection = http.client.HTTPConnection(self.host, self.port, timeout=self.connect_seconds)
        else:
            connection = http.client.HTTPSConnection(
                self.host, self.port, timeout=self.connect_seconds, context=self.tls
            )
        connection.response_class = limited_response(lambda: self.read_seconds)
        try:
            connection.connect()
            connection.sock.settimeout(self.read_seconds)
            path = "/?" + urlencode({"database": self.database, **arguments})
            headers = {"X-ClickHouse-User": self.user.encode(), "X-ClickHouse-Key": self.password.encode()}
            connection.request("POST", path, sql.encode(), headers)
            response = connection.getresponse()
            refusal = None if response.status == http.client.OK else response.read(_TAIL_BYTES)
        except BaseException:
            connection.close()
            raise
        if refusal is None:
            return Answer(connection, response)
        connection.close()
        raise _error(refusal, response.status)


class Answer:
    """The body of an answer, as a file that Arrow can read.

    Args:
        connection: Closed with it.
        response: Whose body it is.
    """

    closed = False

    def __init__(self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse) -> None:
        self._connection = connection
        self._response = response
        self._tail = b""

    def read(self, size: int = -1) -> bytes:
        """The next bytes.

        Raises:
            ClickHouseError: The server gave up after its first byte.
            OSError, http.client.HTTPException: The connection broke off.
        """
        try:
            data = self._response.read(None if size < 0 else size)
            _require_more(self._response, data, size)
        except http.client.IncompleteRead as error:
            self._tail += error.partial
            self._require_no_error()
            raise
        self._tail = (self._tail + data)[-_TAIL_BYTES:] if len(data) < _TAIL_BYTES else data[-_TAIL_BYTES:]
        return data

    def document(self) -> bytes:
        """All of a short answer.

        Raises:
            ClickHouseError: It is not short, or the server gave up.
            OSError, http.client.HTTPException: The connection broke off.
        """
        document = b""
        while piece := self.read(_PIECE):
            document += piece
            if len(document) > _DOCUMENT_BYTES:
                raise ClickHouseError(0, f"an answer of more than {_DOCUMENT_BYTES:,} bytes")
        return document

    def require_whole(self) -> None:
        """Read to the end, which must come without an error of the server.

        Raises:
            ClickHouseError: It does not.
            OSError, http.client.HTTPException: The connection broke off.
        """
        while self.read(_PIECE):
            pass
        self._require_no_error()

    def _require_no_error(self) -> None:
        if _EXCEPTION.search(self._tail):
            raise _error(self._tail, 0)

    def close(self) -> None:
        """Drop the connection, whatever is still to come; idempotent."""
        self.closed = True
        self._response.close()
        self._connection.close()


def _require_more(response: http.client.HTTPResponse, data: bytes, size: int) -> None:
    """What a read of so many bytes passes over: that the server hung up before its last."""
    if size > 0 and not data and response.length:
        raise http.client.IncompleteRead(b"", response.length)


def text_and_parameters(query: BoundQuery) -> tuple[str, dict[str, str]]:
    """A query with `{name:Type}` for its binds, and its values as the URL carries them."""
    text = "".join(
        part if isinstance(part, str) else f"{{{part.name}:{_type(part.value)}}}" for part in query.parts
    )
    binds = [part for part in query.parts if isinstance(part, Bind)]
    return text, {f"param_{bind.name}": _written(bind.value) for bind in binds}


def _type(value: Any) -> str:
    if isinstance(value, bool):
        return "Bool"
    if isinstance(value, int):
        return "Int64" if value.bit_length() <= _INT64_BITS else "Int256"
    if isinstance(value, Decimal):
        scale = max(-int(value.as_tuple().exponent), 0)
        return f"Decimal({max(value.adjusted(), 0) + 1 + scale}, {scale})"
    if isinstance(value, datetime):
        return "DateTime64(6, 'UTC')" if value.tzinfo else "DateTime64(6)"
    kinds = {float: "Float64", date: "Date32", UUID: "UUID", type(None): "Nullable(Nothing)"}
    return kinds.get(type(value), "String")


def _written(value: Any) -> str:
    if value is None:
        return "\\N"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return decimal_text(value)
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC) if value.tzinfo else value:%Y-%m-%d %H:%M:%S.%f}"
    text = str(value)
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\0", "\\0")


def _error(body: bytes, status: int) -> ClickHouseError:
    found = _EXCEPTION.search(body)
    if found is None:
        words = body.decode(errors="replace")[:500]
        return ClickHouseError(0, f"HTTP {status}: {words}")
    return ClickHouseError(int(found[1]), found[2].decode(errors="replace").partition("\n")[0])
