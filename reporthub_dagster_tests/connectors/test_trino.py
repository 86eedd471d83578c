"""What is peculiar to Trino: its types as its protocol writes them (pages of the tests' own), errors.

The rest of its contract runs against a stand-in of the protocol.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from trino.exceptions import HttpError, TrinoExternalError, TrinoQueryError, TrinoUserError

from reporthub_dagster.connectors.source_settings import SourceSettings
from reporthub_dagster.connectors.trino import TrinoConnector
from reporthub_dagster.connectors.trino_stream import literal
from reporthub_dagster.network.egress import EgressPolicy
from reporthub_dagster.reporting.bound_query import BoundQuery
from reporthub_dagster.reporting.errors import (
    ConfigurationError,
    PermanentError,
    ReportHubError,
    TransientError,
)
from reporthub_dagster.reporting.records import DataSource
from reporthub_dagster_tests.connectors.reading import LIMITS, column, read, types
from reporthub_dagster_tests.servers.mariadb import PASSWORD
from reporthub_dagster_tests.servers.trino import TrinoSchema
from reporthub_dagster_tests.servers.trino_http import READER
from reporthub_dagster_tests.servers.web import Answer, WebServer

_NOON = datetime(2024, 2, 29, 12, tzinfo=UTC)
_SETTINGS = SourceSettings(
    EgressPolicy.parse("default", "127.0.0.1"), secret={"TRINO_TOKEN": "a.json.token"}.__getitem__
)
_INTEGER = {"rawType": "integer", "arguments": []}
_CENTS = {"rawType": "decimal", "arguments": [{"kind": "LONG", "value": 12}, {"kind": "LONG", "value": 2}]}
_BIG = {"rawType": "decimal", "arguments": [{"kind": "LONG", "value": 38}, {"kind": "LONG", "value": 0}]}
_ROW = {
    "rawType": "row",
    "arguments": [
        {"kind": "NAMED_TYPE", "value": {"fieldName": {"name": "a"}, "typeSignature": _INTEGER}},
        {"kind": "NAMED_TYPE", "value": {"fieldName": {"name": "b"}, "typeSignature": _CENTS}},
    ],
}
_NAMELESS = {
    "rawType": "row",
    "arguments": [{"kind": "NAMED_TYPE", "value": {"fieldName": None, "typeSignature": _INTEGER}}],
}
_LIST = {"rawType": "array", "arguments": [{"kind": "TYPE", "value": _CENTS}]}
_MAP = {
    "rawType": "map",
    "arguments": [{"kind": "TYPE", "value": {"rawType": "varchar"}}, {"kind": "TYPE", "value": _LIST}],
}
# column → signature or raw type, value in a page, type, value as it must come back
TYPES: dict[str, tuple[Any, Any, str, Any]] = {
    "yes": ("boolean", True, "bool", True),
    "tiny": ("tinyint", -128, "int8", -128),
    "big": ("bigint", -(2**63), "int64", -(2**63)),
    "real": ("real", 0.1, "double", 0.1),
    "infinite": ("double", "-Infinity", "double", float("-inf")),
    "cents": (_CENTS, "-0.01", "decimal128(12, 2)", Decimal("-0.01")),
    "whole": (_BIG, "9" * 38, "decimal128(38, 0)", Decimal("9" * 38)),
    "number": ("number", "1" * 50 + ".5", "decimal", "1" * 50 + ".5"),
    "text": ("varchar", "😀 é", "string", "😀 é"),
    "padded": ("char", "x  ", "string", "x  "),
    "bytes": ("varbinary", "AP8=", "binary", b"\x00\xff"),
    "day": ("date", "0001-01-01", "date32[day]", date(1, 1, 1)),
    "hour": ("time", "23:59:59.123456000", "time64[us]", time(23, 59, 59, 123456)),
    "zoned_hour": ("time with time zone", "12:00:00.000+07:00", "string", "12:00:00.000+07:00"),
    "at": (
        "timestamp",
        "2024-02-29 12:00:00.000001000000",
        "timestamp[us]",
        _NOON.replace(microsecond=1, tzinfo=None),
    ),
    "at_zone": (
        "timestamp with time zone",
        "2024-02-29 19:00:00.000 Asia/Jakarta",
        "timestamp[us, tz=UTC]",
        _NOON,
    ),
    "at_utc": ("timestamp with time zone", "2024-02-29 12:00:00 UTC", "timestamp[us, tz=UTC]", _NOON),
    "at_offset": ("timestamp with time zone", "2024-02-29 06:30:00.0 -05:30", "timestamp[us, tz=UTC]", _NOON),
    "months": ("interval year to month", "1-2", "string", "1-2"),
    "uuid": ("uuid", str(UUID(int=1)), "string", str(UUID(int=1))),
    "ip": ("ipaddress", "10.0.0.1", "string", "10.0.0.1"),
    "json": ("json", '{"a":1.10}', "json", '{"a":1.10}'),
    "list": (_LIST, ["1.50", None], "json", "[1.50, null]"),
    "map": (_MAP, {"k": ["0.10"]}, "json", '{"k": [0.10]}'),
    "row": (_ROW, [1, "2.00"], "json", '{"a": 1, "b": 2.00}'),
    "nameless": (_NAMELESS, [1], "json", "[1]"),
    "nothing": ("unknown", None, "string", None),
}


def page(columns: dict[str, Any], *rows: list[Any]) -> Answer:
    """An answer of the protocol that is the first and the last."""
    described = [
        {
            "name": name,
            "type": "-",
            "typeSignature": kind if isinstance(kind, dict) else {"rawType": kind, "arguments": []},
        }
        for name, kind in columns.items()
    ]
    document = {"id": "q", "infoUri": "-", "stats": {}, "columns": described, "data": rows}
    return Answer(200, body=json.dumps(document))


def answered(server: WebServer, *answers: Answer, **options: Any) -> TrinoConnector:
    """A source whose statements are answered so, one after the other."""
    server.answer("*", *answers, *(page({}) for _ in range(8)))
    url = f"trino://u@127.0.0.1:{server.port}/lake/sales"
    return TrinoConnector(DataSource(7, "s", "trino", url, {"transaction": False, **options}), _SETTINGS)


def test_every_type_of_the_protocol_arrives_exactly(web_server: WebServer, tmp_path: Path) -> None:
    columns = {name: made[0] for name, made in TYPES.items()}
    sent = page(columns, [made[1] for made in TYPES.values()], [None] * len(TYPES))

    result, (row, empty) = read(answered(web_server, sent), "SELECT 1", tmp_path)

    assert types(result) == {name: made[2] for name, made in TYPES.items()}
    assert row == {name: made[3] for name, made in TYPES.items()}
    assert set(empty.values()) == {None}
    assert result.warnings == ()


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("timestamp", "2024-02-29 12:00:00.123456789012"),
        ("time", "12:00:00.0000001"),
        ("timestamp", "+10000-01-01 00:00:00"),
        ("timestamp", "0000-12-31 23:59:59"),
        ("date", "-0044-03-15"),
        ("timestamp with time zone", "2024-02-29 12:00:00.0000001 UTC"),
        ("timestamp with time zone", "2024-10-27 02:30:00 Europe/Berlin"),
    ],
)
def test_a_moment_that_no_column_holds_stays_as_it_was_written(
    web_server: WebServer, tmp_path: Path, kind: str, value: str
) -> None:
    sent = page({"at": kind}, [value])

    result, rows = read(answered(web_server, sent, sent), "SELECT 1", tmp_path)

    assert (types(result), column(rows, "at")) == ({"at": "string"}, [value])
    assert result.warnings == ("column 'at' is text: it holds moments that no column of moments can",)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("it's", "'it''s'"),
        (2**63, "DECIMAL '9223372036854775808'"),
        (Decimal("1E+3"), "DECIMAL '1000'"),
        (float("nan"), "nan()"),
        (5e-324, "DOUBLE '5e-324'"),
        (date(900, 1, 1), "DATE '0900-01-01'"),
        (time(1, 2, 3), "TIME '01:02:03'"),
        (_NOON.astimezone(timezone(timedelta(hours=7))), "TIMESTAMP '2024-02-29 12:00:00.000000 UTC'"),
        (_NOON.replace(year=900, day=1, tzinfo=None), "TIMESTAMP '0900-02-01 12:00:00.000000'"),
        (UUID(int=1), "UUID '00000000-0000-0000-0000-000000000001'"),
    ],
    ids=str,
)
def test_a_value_is_written_as_one_of_its_type(value: Any, written: str) -> None:
    assert literal(value) == written


def test_a_query_carries_its_session(web_server: WebServer, tmp_path: Path) -> None:
    connector = answered(
        web_server,
        page({"x": "integer"}, [1]),
        session={"query_priority": "1"},
        role="analyst",
        time_zone="Asia/Jakarta",
    )

    connector.spool(BoundQuery.of(["SELECT 1 AS x;"]), tmp_path / "s", replace(LIMITS, label="an-execution"))

    (request,) = web_server.requests
    sent = request.headers
    assert request.body == b"SELECT 1 AS x"
    assert sent["x-trino-client-tags"] == "reporthub,an-execution"
    assert re.fullmatch(r"query_priority=1,query_max_run_time=(59\.9\d\d|60\.000)s", sent["x-trino-session"])
    assert (sent["x-trino-catalog"], sent["x-trino-schema"]) == ("lake", "sales")
    assert (sent["x-trino-role"], sent["x-trino-time-zone"]) == ("system=ROLE%7Banalyst%7D", "Asia/Jakarta")


def test_a_result_of_long_texts_comes_in_small_pages(trino_schema: TrinoSchema) -> None:
    connector = TrinoConnector(DataSource(7, "s", "trino", trino_schema.url, {}), _SETTINGS)
    text = "x" * 2_000
    query = BoundQuery.of([f"SELECT range AS n, '{text}' AS pad FROM range(10000)"])
    stream = connector.open(query, LIMITS)

    batches = list(stream.batches())

    stream.close()
    assert sum(batch.num_rows for batch in batches) == 10_000
    assert max(batch.nbytes for batch in batches) < 5_000_000, "5,000 rows at once would be 10 MB"


def test_a_token_named_by_its_variable_signs_in(trino_schema: TrinoSchema) -> None:
    url = trino_schema.url.replace(":p%40ss", "")
    token = {"token": {"env": "TRINO_TOKEN"}}

    assert (
        TrinoConnector(DataSource(7, "s", "trino", url, token), _SETTINGS).check(5) == "Trino 480 (stand-in)"
    )


def test_an_account_that_may_only_read_is_not_warned_of(trino_schema: TrinoSchema) -> None:
    url = trino_schema.server.url(trino_schema.name, READER)

    assert TrinoConnector(DataSource(7, "s", "trino", url, {}), _SETTINGS).writes(5) == ""


def test_a_password_does_not_go_over_plain_http(web_server: WebServer) -> None:
    url = f"trino://u:{PASSWORD.replace('@', '%40')}@127.0.0.1:{web_server.port}/lake"

    with pytest.raises(ConfigurationError, match="connection_config: a password or a token goes over HTTPS"):
        TrinoConnector(DataSource(7, "s", "trino", url, {"secure": False}), _SETTINGS).check(5)

    assert web_server.connections == 0


def test_a_url_does_not_reach_this_machine_unless_an_operator_says_so(web_server: WebServer) -> None:
    source = DataSource(7, "s", "trino", f"trino://u@127.0.0.1:{web_server.port}/lake", {})

    with pytest.raises(ConfigurationError, match="REPORTHUB_EGRESS_ALLOW"):
        TrinoConnector(source).check(5)

    assert web_server.connections == 0


def test_a_server_that_is_no_trino_is_told(web_server: WebServer) -> None:
    connector = answered(web_server, Answer(200, body="<html>"))

    with pytest.raises(ConfigurationError, match="connection_url: what answers there is no Trino server"):
        connector.check(5)


def test_a_server_that_never_answers_ends_with_the_time_limit(web_server: WebServer, tmp_path: Path) -> None:
    web_server.cuts.extend(["hang"] * 3)

    with pytest.raises(PermanentError, match="longer than timeout_seconds = 1"):
        answered(web_server).spool(
            BoundQuery.of(["SELECT 1"]), tmp_path / "s", replace(LIMITS, timeout_seconds=1)
        )


def test_a_certificate_that_nobody_trusts_is_told(trino_schema: TrinoSchema) -> None:
    url = trino_schema.url.partition("?")[0]

    with pytest.raises(ConfigurationError, match="connection_config: no trusted TLS connection"):
        TrinoConnector(DataSource(7, "s", "trino", url, {}), _SETTINGS).check(5)


def _said(name: str, kind: str = "USER_ERROR") -> TrinoQueryError:
    told = {"errorName": name, "errorType": kind, "message": "line 1:8: x"}
    return TrinoExternalError(told) if kind == "EXTERNAL" else TrinoUserError(told)


@pytest.mark.parametrize(
    ("error", "kind", "expected"),
    [
        (_said("PERMISSION_DENIED"), ConfigurationError, "connection_url: a right is missing"),
        (_said("CATALOG_NOT_FOUND"), ConfigurationError, "the catalog or schema cannot be used"),
        (_said("ADMINISTRATIVELY_KILLED"), PermanentError, "somebody stopped the query"),
        (
            _said("EXCEEDED_TIME_LIMIT", "INSUFFICIENT_RESOURCES"),
            PermanentError,
            "longer than timeout_seconds",
        ),
        (_said("QUERY_QUEUE_FULL", "INSUFFICIENT_RESOURCES"), TransientError, "could not finish"),
        (_said("JDBC_ERROR", "EXTERNAL"), TransientError, "could not finish"),
        (_said("DIVISION_BY_ZERO"), ConfigurationError, "refused the query: Division by zero: line 1:8: x"),
        (HttpError("error 410: b'Query not found'"), TransientError, "could not finish"),
        (HttpError("error 400: b'bad header'"), ConfigurationError, "bad header"),
    ],
)
def test_what_the_server_answers_says_what_to_do(
    error: Exception, kind: type[ReportHubError], expected: str
) -> None:
    told = TrinoConnector(DataSource(7, "s", "trino", "trino://h/c", {})).explain(error, LIMITS)

    assert type(told) is kind
    assert expected in str(told)
