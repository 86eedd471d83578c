"""What is peculiar to BigQuery: types, limits of cost, signing in, the Storage API (a stand-in), errors.

Queries run in the emulator bqemulator, behind a front of the tests' own.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from time import monotonic
from typing import Any

import grpc
import pyarrow as pa
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.api_core import exceptions
from google.auth import jwt
from google.cloud.bigquery import SchemaField
from google.cloud.bigquery_storage_v1 import types as storage

from reporthub_dagster.connectors.bigquery import BigQueryConnector
from reporthub_dagster.connectors.bigquery_columns import batch_of, parameters_of, schema_of
from reporthub_dagster.connectors.source_settings import SourceSettings
from reporthub_dagster.network.egress import EgressPolicy
from reporthub_dagster.reporting.bound_query import Bind, BoundQuery
from reporthub_dagster.reporting.errors import (
    ConfigurationError,
    PermanentError,
    ReportHubError,
    TransientError,
)
from reporthub_dagster.reporting.records import DataSource
from reporthub_dagster_tests.connectors.reading import LIMITS, read, types
from reporthub_dagster_tests.servers.bigquery import BigQueryFront
from reporthub_dagster_tests.servers.web import Answer, Request, WebServer

_NOON = datetime(2024, 2, 29, 12, tzinfo=UTC)
_LOOPBACK = EgressPolicy.parse("default", "127.0.0.1")
# column → expression, type, value as it must come back
TYPES: dict[str, tuple[str, str, Any]] = {
    "i": ("-9223372036854775808", "int64", -(2**63)),
    "f": ("0.1", "double", 0.1),
    "n": ("NUMERIC '-123456789012345.678'", "decimal", "-123456789012345.678"),
    "cents": ("NUMERIC '1.50'", "decimal", "1.5"),
    "y": ("TRUE", "bool", True),
    "s": ("'😀 é'", "string", "😀 é"),
    "b": ("FROM_HEX('00ff')", "binary", b"\x00\xff"),
    "d": ("DATE '0001-01-01'", "date32[day]", date(1, 1, 1)),
    "t": ("TIME '23:59:59.999999'", "time64[us]", time(23, 59, 59, 999999)),
    "dt": (
        "DATETIME '2024-02-29 12:00:00.000001'",
        "timestamp[us]",
        _NOON.replace(microsecond=1, tzinfo=None),
    ),
    "ts": ("TIMESTAMP '2024-02-29 19:00:00+07'", "timestamp[us, tz=UTC]", _NOON),
    "j": ("""JSON '{"a":1}'""", "json", '{"a":1}'),
    "l": ("[1, 2]", "json", "[1, 2]"),
    "st": ("STRUCT(1 AS a, NUMERIC '1.10' AS b)", "json", '{"a": 1, "b": 1.1}'),
    "iv": ("INTERVAL 1 DAY", "string", "0-0 1 0:0:0"),
    "nothing": ("CAST(NULL AS STRING)", "string", None),
}


def connector_of(front: BigQueryFront, **options: Any) -> BigQueryConnector:
    settings = SourceSettings(_LOOPBACK, secret={"KEY": json.dumps(options.pop("key", {}))}.__getitem__)
    return BigQueryConnector(DataSource(7, "shop", "bigquery", front.url, options), settings)


def test_every_type_arrives_exactly(bigquery_front: BigQueryFront, tmp_path: Path) -> None:
    listed = ", ".join(f"{made[0]} AS {name}" for name, made in TYPES.items())

    result, rows = read(connector_of(bigquery_front), f"SELECT {listed}", tmp_path)

    assert types(result) == {name: made[1] for name, made in TYPES.items()}
    assert rows == [{name: made[2] for name, made in TYPES.items()}]


def test_types_that_the_emulator_has_not_arrive_as_bigquery_writes_them() -> None:
    days = pa.struct([("start", pa.date32()), ("end", pa.date32())])
    wide = pa.decimal256(76, 38)
    made: dict[str, tuple[SchemaField, pa.Array, Any]] = {
        "range": (
            SchemaField("range", "RANGE", range_element_type="DATE"),
            pa.array([{"start": date(2024, 1, 1), "end": None}, None], days),
            ["[2024-01-01, UNBOUNDED)", None],
        ),
        "big": (
            SchemaField("big", "BIGNUMERIC"),
            pa.array([Decimal("1e-38"), Decimal(100)], wide),
            ["0." + "0" * 37 + "1", "100"],
        ),
        "money": (
            SchemaField("money", "NUMERIC", precision=12, scale=2),
            pa.array([Decimal("1.50"), None], pa.decimal128(38, 9)),
            [Decimal("1.50"), None],
        ),
        "interval": (
            SchemaField("interval", "INTERVAL"),
            pa.array([(-14, 3, -3_723_000_001_000), (0, -1, 0)], pa.month_day_nano_interval()),
            ["-1-2 3 -1:2:3.000001", "0-0 -1 0:0:0"],
        ),
        "place": (SchemaField("place", "GEOGRAPHY"), pa.array(["POINT(1 2)", None]), ["POINT(1 2)", None]),
    }
    fields = [field for field, _, _ in made.values()]
    sent = pa.record_batch([array for _, array, _ in made.values()], names=list(made))

    batch = batch_of(fields, sent, schema_of(fields))

    assert batch.to_pydict() == {name: expected for name, (_, _, expected) in made.items()}


@pytest.mark.parametrize(
    ("value", "kind", "sent"),
    [
        (True, "BOOL", "true"),
        (2**63, "BIGNUMERIC", str(2**63)),
        (Decimal("1e-10"), "BIGNUMERIC", "0.0000000001"),
        (date(2024, 2, 29), "STRING", "2024-02-29"),
        (_NOON.replace(tzinfo=None), "STRING", "2024-02-29 12:00:00"),
        (_NOON, "TIMESTAMP", "2024-02-29 12:00:00+00:00"),
    ],
    ids=str,
)
def test_a_value_is_a_parameter_of_its_type(value: Any, kind: str, sent: str) -> None:
    (parameter,) = parameters_of(BoundQuery.of(["SELECT ", Bind("v", value)]))

    told = parameter.to_api_repr()
    assert told["parameterType"]["type"] == kind
    assert str(told["parameterValue"]["value"]) in (
        sent,
        f"{Decimal(sent):E}" if kind == "BIGNUMERIC" else sent,
    )


def test_a_job_carries_its_limits_and_whose_it_is(bigquery_front: BigQueryFront, tmp_path: Path) -> None:
    connector = connector_of(bigquery_front, maximum_bytes_billed=10**9, labels={"team": "sales"})

    connector.spool(BoundQuery.of(["SELECT 1 AS x"]), tmp_path / "s", replace(LIMITS, label="An-Execution"))

    dry, real = bigquery_front.configurations
    assert (dry["dryRun"], real.get("dryRun")) == (True, None)
    assert real["query"]["maximumBytesBilled"] == "1000000000"
    assert real["query"]["defaultDataset"] == {"projectId": "shop", "datasetId": bigquery_front.dataset}
    assert real["labels"] == {
        "team": "sales",
        "source": "reporthub",
        "reporthub_execution_id": "an-execution",
    }
    assert 59_000 < int(real["jobTimeoutMs"]) <= 60_000


def test_what_a_query_would_read_is_asked_dry(bigquery_front: BigQueryFront) -> None:
    assert connector_of(bigquery_front).estimate(BoundQuery.of(["SELECT x FROM stalled"]), 5) == 4096

    assert [sent.get("dryRun") for sent in bigquery_front.configurations] == [True]


def _new_key() -> tuple[str, str]:
    """A private key and its public one."""
    made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = made.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = made.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return private.decode(), public.decode()


class SignIn(WebServer):
    """Gives a token for what `private` has signed."""

    def __init__(self) -> None:
        super().__init__()
        self.private, self._public = _new_key()

    def key(self, **changes: str) -> dict[str, str]:
        """Of a service account that signs in here."""
        named = {"type": "service_account", "project_id": "shop", "private_key_id": "1"}
        named |= {"client_email": "reporter@shop.example", "private_key": self.private}
        return {**named, "token_uri": self.url, **changes}

    def _next_answer(self, request: Request) -> Answer:
        assertion = request.body.decode().partition("assertion=")[2].partition("&")[0]
        try:
            jwt.decode(assertion, certs=self._public, audience="https://oauth2.googleapis.com/token")
        except ValueError:
            return Answer(
                400, body='{"error": "invalid_grant", "error_description": "Invalid JWT Signature."}'
            )
        return Answer(200, body='{"access_token": "a-token", "expires_in": 3600}')


@pytest.fixture
def sign_in() -> Iterator[SignIn]:
    server = SignIn()
    with server.running():
        yield server


@pytest.mark.parametrize("form", ["variable", "text", "object", "base64", "path"])
def test_a_key_signs_in_however_it_is_given(
    bigquery_front: BigQueryFront, sign_in: SignIn, tmp_path: Path, form: str
) -> None:
    bigquery_front.token = "a-token"
    key = sign_in.key()
    text = json.dumps(key)
    (tmp_path / "key.json").write_text(text)
    given: dict[str, dict[str, Any]] = {
        "variable": {"credentials": {"env": "KEY"}, "key": key},
        "text": {"credentials": text},
        "object": {"credentials": key},
        "base64": {"credentials_base64": base64.b64encode(text.encode()).decode()},
        "path": {"credentials_path": str(tmp_path / "key.json")},
    }

    assert connector_of(bigquery_front, **given[form]).check(10).startswith("BigQuery")


def test_a_key_of_nobody_names_what_to_change(bigquery_front: BigQueryFront, sign_in: SignIn) -> None:
    key = sign_in.key(private_key=_new_key()[0])

    with pytest.raises(ConfigurationError, match="connection_config: the server refused the login") as raised:
        connector_of(bigquery_front, credentials={"env": "KEY"}, key=key).check(10)

    assert key["private_key"][40:80] not in str(raised.value)
    assert raised.value.__suppress_context__


def test_what_is_no_key_is_told(bigquery_front: BigQueryFront) -> None:
    with pytest.raises(ConfigurationError, match="connection_config: credentials is no JSON key"):
        connector_of(bigquery_front, credentials="geheim").check(5)


def test_a_key_does_not_lead_a_sign_in_to_this_machine(
    bigquery_front: BigQueryFront, sign_in: SignIn
) -> None:
    key = sign_in.key(token_uri=sign_in.url.replace("127.0.0.1", "127.0.0.2"))

    with pytest.raises(ConfigurationError, match="REPORTHUB_EGRESS_ALLOW"):
        connector_of(bigquery_front, credentials=key).check(5)


class StorageApi:
    """A stand-in of the Storage API: what a read session and its one stream answer.

    Args:
        table: Its rows.
        allowed: Whether an account may read.
        silent: From where on it says nothing: `session`, or `rows` for after the first of them.
    """

    def __init__(self, table: pa.Table, *, allowed: bool = True, silent: str = "") -> None:
        self.table = table
        self.silent = silent
        self.ended = threading.Event()
        self.schema = storage.ArrowSchema(serialized_schema=table.schema.serialize().to_pybytes())
        self.allowed = allowed
        self.server = grpc.server(ThreadPoolExecutor(2))
        create = grpc.unary_unary_rpc_method_handler(
            self._create, storage.CreateReadSessionRequest.deserialize, storage.ReadSession.serialize
        )
        rows = grpc.unary_stream_rpc_method_handler(
            self._rows, storage.ReadRowsRequest.deserialize, storage.ReadRowsResponse.serialize
        )
        handlers = {"CreateReadSession": create, "ReadRows": rows}
        name = "google.cloud.bigquery.storage.v1.BigQueryRead"
        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))
        self.address = f"http://127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"

    def _create(self, request: storage.CreateReadSessionRequest, context: Any) -> storage.ReadSession:
        assert request.max_stream_count == 1
        if self.silent == "session":
            self.ended.wait(30)
        if not self.allowed:
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "bigquery.readsessions.create denied")
        return storage.ReadSession(
            name="s", arrow_schema=self.schema, streams=[storage.ReadStream(name="s/1")]
        )

    def _rows(self, request: storage.ReadRowsRequest, _: Any) -> Iterator[storage.ReadRowsResponse]:
        for batch in self.table.to_batches(max_chunksize=150_000)[request.offset :]:
            rows = storage.ArrowRecordBatch(serialized_record_batch=batch.serialize().to_pybytes())
            yield storage.ReadRowsResponse(
                arrow_record_batch=rows, arrow_schema=self.schema, row_count=batch.num_rows
            )
            if self.silent == "rows":
                self.ended.wait(30)


@pytest.fixture
def start_storage() -> Iterator[Callable[..., StorageApi]]:
    started: list[StorageApi] = []

    def start(table: pa.Table, **how: Any) -> StorageApi:
        started.append(StorageApi(table, **how))
        started[-1].server.start()
        return started[-1]

    yield start
    for one in started:
        one.ended.set()
        one.server.stop(None).wait()


_STORED = BoundQuery.of(["SELECT n, pad FROM UNNEST(GENERATE_ARRAY(1, 200000)) AS n"])


def _numbers(count: int) -> pa.Table:
    return pa.table({"n": pa.array(range(1, count + 1), pa.int64()), "pad": ["stored"] * count})


@pytest.mark.parametrize("allowed", [True, False])
def test_rows_come_by_the_storage_api_where_the_account_may_use_it(
    bigquery_front: BigQueryFront, start_storage: Callable[..., StorageApi], tmp_path: Path, allowed: bool
) -> None:
    pad = "stored" if allowed else "x" * 200
    api = start_storage(_numbers(200_000), allowed=allowed)

    result, found = read(connector_of(bigquery_front, storage_endpoint=api.address), _STORED, tmp_path)

    assert [row["n"] for row in found] == list(range(1, 200_001))
    assert {row["pad"] for row in found} == {pad}
    assert [warning[:46] for warning in result.warnings] == (
        [] if allowed else ["the account may not use the Storage API, so th"]
    )


def test_a_page_of_the_rest_api_is_small(bigquery_front: BigQueryFront) -> None:
    stream = connector_of(bigquery_front).open(_STORED, LIMITS)

    sizes = [batch.num_rows for batch in stream.batches()]

    stream.close()
    assert (max(sizes), sum(sizes)) == (2_000, 200_000)


@pytest.mark.parametrize("silent", ["session", "rows"])
def test_a_storage_api_that_falls_silent_ends_with_the_time_limit(
    bigquery_front: BigQueryFront, start_storage: Callable[..., StorageApi], tmp_path: Path, silent: str
) -> None:
    api = start_storage(_numbers(200_000), silent=silent)
    connector = connector_of(bigquery_front, storage_endpoint=api.address)
    started = monotonic()

    with pytest.raises(PermanentError, match="longer than timeout_seconds = 2"):
        connector.spool(_STORED, tmp_path / "s", replace(LIMITS, timeout_seconds=2))

    assert monotonic() - started < 20, "it waited for the server"


def test_a_result_is_cut_while_the_storage_api_is_silent(
    bigquery_front: BigQueryFront, start_storage: Callable[..., StorageApi], tmp_path: Path
) -> None:
    api = start_storage(_numbers(200_000), silent="rows")
    started = monotonic()

    result = connector_of(bigquery_front, storage_endpoint=api.address).spool(
        _STORED, tmp_path / "s", replace(LIMITS, max_rows=1000)
    )

    assert (result.row_count, result.truncated) == (1000, True)
    assert monotonic() - started < 20, "it waited for rows that nobody wants"


def _error(
    code: type[exceptions.GoogleAPICallError], reason: str, words: str
) -> exceptions.GoogleAPICallError:
    return code(f"POST https://bigquery.googleapis.com/x: {words}", errors=[{"reason": reason}])


@pytest.mark.parametrize(
    ("error", "kind", "expected"),
    [
        (
            _error(exceptions.Forbidden, "accessDenied", "Access Denied: Table shop:a.b"),
            ConfigurationError,
            "connection_url: a right is missing: Access Denied",
        ),
        (
            _error(exceptions.BadRequest, "bytesBilledLimitExceeded", "Query exceeded limit"),
            ConfigurationError,
            "connection_config: the query would cost more than it may: Query exceeded limit",
        ),
        (_error(exceptions.Forbidden, "rateLimitExceeded", "too many"), TransientError, "could not finish"),
        (_error(exceptions.ServiceUnavailable, "backendError", "later"), TransientError, "could not finish"),
        (_error(exceptions.BadRequest, "timeout", "late"), PermanentError, "longer than timeout_seconds"),
        (_error(exceptions.BadRequest, "stopped", "cancelled"), PermanentError, "somebody stopped the query"),
        (
            _error(exceptions.NotFound, "notFound", "Not found: Project x"),
            ConfigurationError,
            "connection_url",
        ),
        (_error(exceptions.NotFound, "notFound", "Not found: Table x"), ConfigurationError, "report_query"),
    ],
)
def test_what_the_server_answers_says_what_to_do(
    error: Exception, kind: type[ReportHubError], expected: str
) -> None:
    told = BigQueryConnector(DataSource(7, "s", "bigquery", "bigquery://shop/d", {})).explain(error, LIMITS)

    assert type(told) is kind
    assert expected in str(told)
