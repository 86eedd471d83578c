"""What is peculiar to Snowflake: types, its session, signing in, errors.

Queries run in the emulator fakesnow, behind a front of the tests' own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
import snowflake.connector
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from snowflake.connector.errors import DatabaseError, OperationalError, ProgrammingError
from snowflake.connector.result_batch import ResultBatch

from reporthub_dagster.connectors import snowflake_columns as columns
from reporthub_dagster.connectors.base import TypeMisfit
from reporthub_dagster.connectors.snowflake import SnowflakeConnector
from reporthub_dagster.connectors.source_settings import SourceSettings
from reporthub_dagster.network.egress import EgressPolicy
from reporthub_dagster.reporting.bound_query import BoundQuery
from reporthub_dagster.reporting.errors import (
    ConfigurationError,
    PermanentError,
    ReportHubError,
    TransientError,
)
from reporthub_dagster.reporting.records import DataSource
from reporthub_dagster_tests.connectors.reading import LIMITS, read, types
from reporthub_dagster_tests.servers.snowflake import SnowflakeDatabase
from reporthub_dagster_tests.servers.web import WebServer

_NOON = datetime(2024, 2, 29, 12, tzinfo=UTC)
# column → expression, type, value as it must come back
TYPES: dict[str, tuple[str, str, Any]] = {
    "money": ("1.5::NUMBER(38, 9)", "decimal128(38, 9)", Decimal("1.5")),
    "small": ("7::NUMBER(10, 2)", "decimal128(10, 2)", Decimal(7)),
    "f": ("0.1::FLOAT", "double", 0.1),
    "y": ("TRUE", "bool", True),
    "s": ("'😀 é'", "string", "😀 é"),
    "d": ("'0001-01-01'::DATE", "date32[day]", date(1, 1, 1)),
    "at": ("TO_TIMESTAMP_NTZ('2024-02-29 12:00:00')", "timestamp[us]", _NOON.replace(tzinfo=None)),
    "v": ("""PARSE_JSON('{"a":1}')""", "json", '{"a":1}'),
    "Quoted": ("'x'", "string", "x"),
    "nothing": ("NULL::TEXT", "string", None),
}


def connector_of(database: SnowflakeDatabase, url: str = "", **options: Any) -> SnowflakeConnector:
    settings = SourceSettings(
        EgressPolicy.parse("default", "127.0.0.1"), secret={"KEY": options.pop("key", "")}.__getitem__
    )
    return SnowflakeConnector(DataSource(7, "s", "snowflake", url or database.url, options), settings)


def test_every_type_arrives_exactly(snowflake_database: SnowflakeDatabase, tmp_path: Path) -> None:
    listed = ", ".join(f'{made[0]} AS "{name}"' for name, made in TYPES.items())

    result, rows = read(connector_of(snowflake_database), f"SELECT {listed}", tmp_path)

    assert types(result) == {name: made[1] for name, made in TYPES.items()}
    assert rows == [{name: made[2] for name, made in TYPES.items()}]


def _described(name: str, code: int, precision: int = 0, scale: int = 0) -> Any:
    return SimpleNamespace(name=name, type_code=code, precision=precision, scale=scale)


def test_arrow_columns_that_the_emulator_has_not_arrive_exactly() -> None:
    made: dict[str, tuple[Any, pa.Array, list[Any]]] = {
        "whole": (_described("WHOLE", columns.FIXED, 18), pa.array([1, None], pa.int8()), [1, None]),
        "wide": (
            _described("WIDE", columns.FIXED, 38),
            pa.array([Decimal("9" * 38), Decimal(1)], pa.decimal128(38, 0)),
            [Decimal("9" * 38), Decimal(1)],
        ),
        "local": (
            _described("LOCAL", columns.LTZ),
            pa.array([_NOON, None], pa.timestamp("ns", "Asia/Jakarta")),
            [_NOON, None],
        ),
        "list": (_described("LIST", columns.ARRAY), pa.array(["[1]", None]), ["[1]", None]),
    }
    schema = columns.schema_of([described for described, _, _ in made.values()], {})
    sent = pa.record_batch([array for _, array, _ in made.values()], names=list(made))

    assert columns.batch_of(sent, schema).to_pydict() == {name: rows for name, (_, _, rows) in made.items()}


def test_a_moment_finer_than_microseconds_becomes_text() -> None:
    described = [_described("AT", columns.NTZ)]
    sent = pa.record_batch([pa.array([1_709_208_000_123_456_789], pa.timestamp("ns"))], names=["AT"])

    with pytest.raises(TypeMisfit) as raised:
        columns.batch_of(sent, columns.schema_of(described, {}))

    again = columns.batch_of(sent, columns.schema_of(described, raised.value.wider))
    assert again.to_pydict() == {"at": ["2024-02-29 12:00:00.123456789"]}


def test_a_session_carries_its_limits_and_whose_it_is(
    snowflake_database: SnowflakeDatabase, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given: dict[str, Any] = {}
    real = snowflake.connector.connect

    def connect(**arguments: Any) -> Any:
        given.update(arguments)
        return real(**arguments)

    monkeypatch.setattr(snowflake.connector, "connect", connect)
    connector = connector_of(snowflake_database, role="reader", time_zone="Asia/Jakarta")
    connector.spool(BoundQuery.of(["SELECT 1 AS x"]), tmp_path / "s", replace(LIMITS, label="an-execution"))

    assert given["session_parameters"] == {
        "AUTOCOMMIT": False,
        "CLIENT_TELEMETRY_ENABLED": False,
        "QUERY_TAG": "reporthub an-execution",
        "STATEMENT_TIMEOUT_IN_SECONDS": 60,
        "TIMEZONE": "Asia/Jakarta",
    }
    assert (given["role"], given["account"]) == ("reader", "shop")


def test_a_result_that_the_driver_cuts_is_no_result(
    snowflake_database: SnowflakeDatabase, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cursor = snowflake.connector.cursor.SnowflakeCursor
    real = cursor.get_result_batches
    monkeypatch.setattr(cursor, "get_result_batches", lambda self: (real(self) or [])[:1])

    with pytest.raises(TransientError, match=r"ended the result after \d+ of 200000 rows"):
        connector_of(snowflake_database).spool(
            BoundQuery.of(["SELECT range AS n FROM range(1, 200000 + 1)"]), tmp_path / "s", LIMITS
        )


def test_a_result_is_fetched_piece_by_piece_and_not_ahead(
    snowflake_database: SnowflakeDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[ResultBatch] = []
    real = ResultBatch.to_arrow

    def to_arrow(piece: ResultBatch, **given: Any) -> pa.Table:
        fetched.append(piece)
        return real(piece, **given)

    monkeypatch.setattr(ResultBatch, "to_arrow", to_arrow)
    query = BoundQuery.of(["SELECT range AS n FROM range(1, 200000 + 1)"])
    stream = connector_of(snowflake_database).open(query, LIMITS)
    batches = stream.batches()

    first = next(batches)

    assert len(fetched) == 1
    assert first.num_rows + sum(batch.num_rows for batch in batches) == 200_000
    assert len(fetched) == 40
    stream.close()


def test_rights_of_inherited_and_of_secondary_roles_are_told(snowflake_database: SnowflakeDatabase) -> None:
    assert connector_of(snowflake_database).writes(10).split(", ") == [
        "create table on schemas (role FIRST)",
        "insert on tables (role WRITER)",
        "update on tables (role SECOND)",
    ]


def test_an_account_that_knows_no_hierarchy_tells_what_its_roles_were_granted(
    snowflake_database: SnowflakeDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    cursor = snowflake.connector.DictCursor
    real = cursor.execute

    def execute(given: Any, sql: str, *more: Any) -> Any:
        if "INCLUDE HIERARCHY" in sql:
            raise ProgrammingError("syntax error: unexpected 'INCLUDE'", errno=1003)
        return real(given, sql, *more)

    monkeypatch.setattr(cursor, "execute", execute)

    told = connector_of(snowflake_database).writes(10)

    assert told == "create table on schemas (role FIRST), update on tables (role SECOND)"


def test_the_driver_asks_no_metadata_service_of_a_cloud(
    snowflake_database: SnowflakeDatabase, web_server: WebServer
) -> None:
    script = (
        "import sys\n"
        "from reporthub_dagster.connectors.snowflake import SnowflakeConnector\n"
        "from reporthub_dagster.connectors.source_settings import SourceSettings\n"
        "from reporthub_dagster.network.egress import EgressPolicy\n"
        "from reporthub_dagster.reporting.records import DataSource\n"
        "settings = SourceSettings(EgressPolicy.parse('default', '127.0.0.1'))\n"
        "print(SnowflakeConnector(DataSource(7, 's', 'snowflake', sys.argv[1], {}), settings).check(10))\n"
    )
    metadata = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://127.0.0.1:{web_server.port}"}

    answer = subprocess.run(  # a process of its own: the driver asks once
        [sys.executable, "-c", script, snowflake_database.url],
        env={**os.environ, **metadata},
        check=True,
        capture_output=True,
        text=True,
    )

    assert answer.stdout.startswith("Snowflake")
    assert web_server.connections == 0


@pytest.mark.parametrize("passphrase", [None, "geheim"])
def test_a_private_key_signs_in(snowflake_database: SnowflakeDatabase, passphrase: str | None) -> None:
    pem = _pem(snowflake_database.server.key, passphrase)
    url = snowflake_database.url.replace(":p%40ss%3Aw%2Frd%20%251", "")
    given = {"private_key": {"env": "KEY"}, "private_key_passphrase": passphrase, "key": pem}

    assert connector_of(snowflake_database, url, **given).check(10).startswith("Snowflake")


def test_a_key_of_nobody_names_what_to_change(snowflake_database: SnowflakeDatabase) -> None:
    pem = _pem(rsa.generate_private_key(public_exponent=65537, key_size=2048), None)

    with pytest.raises(ConfigurationError, match="connection_url: the server refused the login") as raised:
        connector_of(snowflake_database, private_key=pem).check(10)

    assert pem[60:100] not in str(raised.value)


def test_what_is_no_key_is_told(snowflake_database: SnowflakeDatabase) -> None:
    with pytest.raises(ConfigurationError, match="connection_config: private_key cannot be read"):
        connector_of(snowflake_database, private_key="geheim").check(5)


def test_a_url_does_not_reach_this_machine_unless_an_operator_says_so(
    snowflake_database: SnowflakeDatabase,
) -> None:
    with pytest.raises(ConfigurationError, match="REPORTHUB_EGRESS_ALLOW"):
        SnowflakeConnector(DataSource(7, "s", "snowflake", snowflake_database.url, {})).check(5)


@pytest.mark.parametrize(
    ("error", "kind", "expected"),
    [
        (ProgrammingError("Statement reached its timeout", errno=630), PermanentError, "longer than timeout"),
        (ProgrammingError("SQL execution canceled", errno=604), PermanentError, "somebody stopped the query"),
        (ProgrammingError("Insufficient privileges", errno=3001), ConfigurationError, "a right is missing"),
        (ProgrammingError("No active warehouse", errno=606), ConfigurationError, "no database, schema or"),
        (ProgrammingError("Division by zero", errno=100051), ConfigurationError, "report_query"),
        (DatabaseError("Incorrect username or password", errno=390100), ConfigurationError, "the login"),
        (OperationalError("Failed to connect", errno=250001), TransientError, "cannot be reached"),
    ],
)
def test_what_the_server_answers_says_what_to_do(
    error: Exception, kind: type[ReportHubError], expected: str
) -> None:
    told = SnowflakeConnector(DataSource(7, "s", "snowflake", "snowflake://u@a/d", {})).explain(error, LIMITS)

    assert type(told) is kind
    assert expected in str(told)


def _pem(key: rsa.RSAPrivateKey, passphrase: str | None) -> str:
    encryption = (
        serialization.BestAvailableEncryption(passphrase.encode())
        if passphrase
        else serialization.NoEncryption()
    )
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    ).decode()
