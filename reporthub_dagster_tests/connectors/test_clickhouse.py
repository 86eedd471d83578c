"""What is peculiar to ClickHouse; against its own engine, behind a front that speaks its HTTP interface."""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
import traceback
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from reporthub_dagster.connectors.clickhouse import ClickHouseConnector
from reporthub_dagster.connectors.clickhouse_http import Answer, ClickHouseError
from reporthub_dagster.reporting.bound_query import Bind, BoundQuery
from reporthub_dagster.reporting.errors import (
    ConfigurationError,
    PermanentError,
    ReportHubError,
    TransientError,
)
from reporthub_dagster.reporting.records import DataSource
from reporthub_dagster_tests.connectors.reading import LIMITS, read, types
from reporthub_dagster_tests.servers.clickhouse import ClickHouseDatabase

_LIES = """
import io, struct, sys, threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
import pyarrow as pa
from reporthub_dagster.connectors.base import QueryLimits
from reporthub_dagster.connectors.clickhouse import ClickHouseConnector
from reporthub_dagster.reporting.bound_query import BoundQuery
from reporthub_dagster.reporting.errors import ReportHubError
from reporthub_dagster.reporting.records import DataSource

sink = io.BytesIO()
rows = pa.table({"s": pa.array([b"ab", b"cd"], pa.binary())})
with pa.ipc.new_stream(sink, rows.schema) as writer:
    writer.write_table(rows)
true, lie = struct.pack("<iii", 0, 2, 4), struct.pack("<iii", 0, 2**30, 4)
assert sink.getvalue().count(true) == 1

class Liar(BaseHTTPRequestHandler):
    def do_POST(self):
        asked = self.rfile.read(int(self.headers["content-length"]))
        told = b'["s", "String"]' if asked.startswith(b"DESCRIBE") else sink.getvalue().replace(true, lie)
        self.send_response(200)
        self.send_header("content-length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)

    def log_message(self, *_):
        pass

server = HTTPServer(("127.0.0.1", 0), Liar)
threading.Thread(target=server.serve_forever, daemon=True).start()
row = DataSource(7, "x", "clickhouse", f"clickhouse://u:p@127.0.0.1:{server.server_port}/d", {})
try:
    ClickHouseConnector(row).spool(BoundQuery.of(["SELECT 1"]), Path(sys.argv[1]), QueryLimits(60, 10))
except ReportHubError as error:
    print(error)
"""
_NOON = datetime(2024, 2, 29, 12, tzinfo=UTC)
# column → expression, type, value as it must come back
TYPES: dict[str, tuple[str, str, Any]] = {
    "u8": ("toUInt8(255)", "uint8", 255),
    "i64": ("toInt64('-9223372036854775808')", "int64", -(2**63)),
    "u64": ("toUInt64('18446744073709551615')", "uint64", 2**64 - 1),
    "u256": (f"toUInt256('{2**256 - 1}')", "decimal", str(2**256 - 1)),
    "i128": ("toInt128('-170141183460469231731687303715884105728')", "decimal", str(-(2**127))),
    "f32": ("toFloat32(0.1)", "double", 0.1),
    "f64": ("5e-324", "double", 5e-324),
    "d64": ("toDecimal64('1.50', 2)", "decimal128(18, 2)", Decimal("1.50")),
    "d256": ("toDecimal256('0.1', 60)", "decimal256(76, 60)", Decimal("0.1" + "0" * 59)),
    "s": ("'😀 é'", "string", "😀 é"),
    "fixed": ("toFixedString('USD', 3)", "string", "USD"),
    "low": ("toLowCardinality(toNullable('x'))", "string", "x"),
    "b": ("true", "bool", True),
    "day": ("toDate32('1900-01-01')", "date32[day]", date(1900, 1, 1)),
    "at": ("toDateTime('2024-02-29 19:00:00', 'Asia/Jakarta')", "timestamp[us, tz=UTC]", _NOON),
    "micros": (
        "toDateTime64('2024-02-29 12:00:00.000001', 6, 'UTC')",
        "timestamp[us, tz=UTC]",
        _NOON.replace(microsecond=1),
    ),
    "uuid": (
        "toUUID('12345678-1234-5678-1234-567812345678')",
        "string",
        "12345678-1234-5678-1234-567812345678",
    ),
    "ip": ("toIPv4('10.0.0.1')", "string", "10.0.0.1"),
    "ip6": ("toIPv6('::1')", "string", "::1"),
    "word": ("CAST('paid' AS Enum8('paid' = 1, 'open' = 2))", "string", "paid"),
    "list": ("[toUInt64('18446744073709551615'), NULL]", "json", "[18446744073709551615,null]"),
    "map": ("map('a', toDecimal64(1.5, 2))", "json", '{"a":1.5}'),
    "tuple": ("tuple(1, 'x')", "json", '[1,"x"]'),
    "null": ("NULL", "string", None),
    "a `b`": ("toInt32(1)", "int32", 1),
}


def connector_of(database: ClickHouseDatabase, **options: Any) -> ClickHouseConnector:
    return ClickHouseConnector(DataSource(7, "shop", "clickhouse", database.url, options))


def test_every_type_arrives_exactly(clickhouse_database: ClickHouseDatabase, tmp_path: Path) -> None:
    listed = ", ".join(f"{made[0]} AS {_quoted(name)}" for name, made in TYPES.items())

    result, rows = read(connector_of(clickhouse_database), f"SELECT {listed}", tmp_path)

    assert types(result) == {name: made[1] for name, made in TYPES.items()}
    assert rows == [{name: made[2] for name, made in TYPES.items()}]
    assert result.warnings == ()


def test_a_moment_finer_than_microseconds_stays_whole(
    clickhouse_database: ClickHouseDatabase, tmp_path: Path
) -> None:
    query = (
        "SELECT toDateTime64('2024-02-29 12:00:00.123456' || if(number < 20000, '', '789'), 9, 'UTC') AS at "
    )

    result, rows = read(connector_of(clickhouse_database), f"{query} FROM numbers(20001)", tmp_path)

    assert types(result) == {"at": "string"}
    assert [rows[0]["at"], rows[-1]["at"]] == [
        "2024-02-29 12:00:00.123456000",
        "2024-02-29 12:00:00.123456789",
    ]
    assert result.warnings == ("column 'at' is text: it holds moments finer than microseconds",)


def test_asking_for_text_changes_no_order(clickhouse_database: ClickHouseDatabase, tmp_path: Path) -> None:
    query = "SELECT number AS n, [number] AS l FROM numbers(30000) ORDER BY n DESC LIMIT 25000"

    _, rows = read(connector_of(clickhouse_database), query, tmp_path)

    assert [row["n"] for row in rows] == list(range(29_999, 4_999, -1))


@pytest.mark.parametrize(
    "value",
    [
        *(2**64, -(2**63), 0.1, Decimal("-0.001"), Decimal("1e3"), date(1900, 1, 1), _NOON, True, None),
        *(_NOON.replace(tzinfo=None), UUID("12345678-1234-5678-1234-567812345678"), "\\N", "a\tb\0c\\"),
    ],
    ids=repr,
)
def test_values_of_every_python_type_come_back(
    clickhouse_database: ClickHouseDatabase, tmp_path: Path, value: Any
) -> None:
    query = BoundQuery.of(["SELECT ", Bind("v", value), " AS v, toString(v) AS s"])

    _, (row,) = read(connector_of(clickhouse_database, time_zone="UTC"), query, tmp_path)

    expected = value.replace(tzinfo=UTC) if isinstance(value, datetime) else value
    assert row["v"] in (expected, str(expected))


def test_a_session_may_have_a_time_zone(clickhouse_database: ClickHouseDatabase, tmp_path: Path) -> None:
    connector = connector_of(clickhouse_database, time_zone="Asia/Jakarta")

    _, rows = read(connector, "SELECT toDateTime('2024-02-29 19:00:00') AS at", tmp_path)

    assert rows == [{"at": _NOON}]


def test_what_fails_after_the_first_rows_is_told_in_the_servers_words(
    clickhouse_database: ClickHouseDatabase, tmp_path: Path
) -> None:
    query = "SELECT throwIf(number = 500000, 'too far') AS n FROM numbers(1000000)"

    with pytest.raises(ConfigurationError, match="the database refused the query: too far"):
        read(connector_of(clickhouse_database), query, tmp_path)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (b"Code: 395. DB::Exception: too far", ClickHouseError),
        (b"nothing of the kind", http.client.IncompleteRead),
    ],
)
def test_a_server_that_breaks_off_may_have_said_why(said: bytes, kind: type[Exception]) -> None:
    ours, theirs = socket.socketpair()
    theirs.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(said), said))
    theirs.close()
    with ours:
        response = http.client.HTTPResponse(ours)
        response.begin()

        with pytest.raises(kind):
            Answer(http.client.HTTPConnection("h"), response).read(100)


def test_text_that_is_not_utf_8_is_refused_by_name(
    clickhouse_database: ClickHouseDatabase, tmp_path: Path
) -> None:
    with pytest.raises(PermanentError, match="column 'bad' holds text that is not valid UTF-8"):
        read(connector_of(clickhouse_database), "SELECT unhex('ff') AS bad", tmp_path)


def test_the_session_is_read_only_for_functions_too(
    clickhouse_database: ClickHouseDatabase, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=r"(?i)read.?only"):
        read(connector_of(clickhouse_database), "SELECT * FROM file('/etc/passwd', 'LineAsString')", tmp_path)


@pytest.mark.parametrize(
    ("code", "words", "kind", "expected"),
    [
        (164, "Cannot modify 'max_block_size' setting in readonly mode.", ConfigurationError, "readonly = 2"),
        (497, "u: Not enough privileges.", ConfigurationError, "connection_url: a right is missing"),
        (394, "Query was cancelled.", PermanentError, "somebody stopped the query"),
        (241, "Memory limit (total) exceeded", TransientError, "could not finish"),
        (241, "Memory limit (for query) exceeded", ConfigurationError, "refused the query"),
        (202, "Too many simultaneous queries", TransientError, "could not finish"),
        (0, "HTTP 404: There is no handle", ConfigurationError, "There is no handle"),
    ],
)
def test_what_the_server_answers_says_what_to_do(
    code: int, words: str, kind: type[ReportHubError], expected: str
) -> None:
    connector = ClickHouseConnector(DataSource(7, "s", "clickhouse", "clickhouse://h/d", {}))

    told = connector.explain(ClickHouseError(code, words), LIMITS)

    assert type(told) is kind
    assert expected in str(told)


def test_a_certificate_that_nobody_trusts_is_told() -> None:
    source = DataSource(7, "s", "clickhouse", "clickhouse://h/d", {"secure": True, "ssl_ca": "/no/ca.pem"})

    with pytest.raises(ConfigurationError, match="connection_config: a file cannot be read"):
        ClickHouseConnector(source).check(5)


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "\\`") + "`"


def test_a_server_that_lies_about_its_rows_makes_nobody_read_what_is_not_theirs(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _LIES, tmp_path / "x.arrow"], capture_output=True, text=True, check=False
    )

    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout, "an error says so"
    assert not (tmp_path / "x.arrow").exists()


def test_a_password_that_no_header_can_hold_is_not_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        row = DataSource(7, "x", "clickhouse", f"clickhouse://u:geheim%0Axyz@127.0.0.1:{port}/d", {})
        with pytest.raises(RuntimeError, match="Invalid header value") as raised:
            read(ClickHouseConnector(row), "SELECT 1", tmp_path)

    assert "geheim" not in "".join(traceback.format_exception(raised.value))
