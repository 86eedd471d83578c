"""What is peculiar to MongoDB; against the emulator secantusdb."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import Mock
from uuid import UUID

import bson
import pytest
from bson.datetime_ms import DatetimeMS

from reporthub_dagster.connectors.base import QueryLimits
from reporthub_dagster.connectors.mongodb import MongoDBConnector
from reporthub_dagster.connectors.mongodb_values import CODEC, plain_document
from reporthub_dagster.reporting.bound_query import BoundQuery
from reporthub_dagster.reporting.document_query import bind_document
from reporthub_dagster.reporting.errors import ConfigurationError, PermanentError
from reporthub_dagster.reporting.records import DataSource
from reporthub_dagster.storage.spool import Spool
from reporthub_dagster_tests.connectors.reading import LIMITS, types
from reporthub_dagster_tests.servers.mongodb import READER, MongoDBFront

# field → value as it is stored, type, value as it must come back
TYPES: dict[str, tuple[Any, str, Any]] = {
    "id": (bson.ObjectId("6b02745f480d27cfc43d7059"), "string", "6b02745f480d27cfc43d7059"),
    "int": (-7, "int64", -7),
    "long": (bson.Int64(2**63 - 1), "int64", 2**63 - 1),
    "double": (0.1, "double", 0.1),
    "money": (
        bson.Decimal128("123456789012345678901234567890.1234"),
        "decimal",
        "123456789012345678901234567890.1234",
    ),
    "text": ("😀 é", "string", "😀 é"),
    "flag": (True, "bool", True),
    "at": (
        datetime(2024, 2, 29, 23, 59, 59, 999000, UTC),
        "timestamp[us, tz=UTC]",
        datetime(2024, 2, 29, 23, 59, 59, 999000, UTC),
    ),
    "bytes": (b"\0\xff", "binary", b"\0\xff"),
    "uuid": (
        bson.Binary.from_uuid(UUID("12345678-1234-5678-1234-567812345678")),
        "string",
        "12345678-1234-5678-1234-567812345678",
    ),
    "list": ([1, {"a": bson.Decimal128("1.10")}], "json", '[1, {"a": 1.10}]'),
    "regex": (bson.Regex("a+"), "string", "/a+/"),
    "least": (bson.MinKey(), "string", "MinKey()"),
    "nothing": (None, "string", None),
}


def connector_of(front: MongoDBFront, **changes: Any) -> MongoDBConnector:
    return MongoDBConnector(
        DataSource(7, "shop", "mongodb", **{"url": front.url(), "options": {}, **changes})
    )


def read(
    connector: MongoDBConnector, query: dict[str, Any] | str, folder: Path, **values: Any
) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """Types and rows of a query, its `{{variables}}` bound to the values."""
    text = query if isinstance(query, str) else json.dumps(query)
    result = connector.spool(bind_document(text, values), folder / "spool.arrow", LIMITS)
    return types(result), Spool.open(result.spool).head(10_000).to_pylist()


def test_every_type_arrives_exactly(mongodb_front: MongoDBFront, tmp_path: Path) -> None:
    mongodb_front.insert("t", {"_id": 1, "deep": {name: made[0] for name, made in TYPES.items()}})

    found, rows = read(connector_of(mongodb_front), {"collection": "t"}, tmp_path)

    assert found == {"_id": "int64", **{f"deep.{name}": made[1] for name, made in TYPES.items()}}
    assert rows == [{"_id": 1, **{f"deep.{name}": made[2] for name, made in TYPES.items()}}]


def test_a_date_beyond_the_year_9999_is_text() -> None:
    stored = bson.encode({"at": DatetimeMS(2**60)})

    assert plain_document(bson.decode(stored, CODEC)) == {"at": str(2**60)}


def test_whatever_comes_late_the_result_is_read_twice_and_no_more(
    mongodb_front: MongoDBFront, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late: dict[int, dict[str, Any]] = {
        200: {"v": 0.5},
        300: {"v": "x"},
        400: {"new": 1},
        500: {"new": 2**53 + 1},
        600: {"new": 0.5},
    }
    documents = [{"_id": n, "v": n, **late.get(n, {})} for n in range(650)]
    mongodb_front.insert("t", *documents)
    made = connector_of(mongodb_front)
    opened = Mock(wraps=made.open)
    monkeypatch.setattr(made, "open", opened)
    query = bind_document('{"collection": "t", "sort": {"_id": 1}}', {})

    result = made.spool(query, tmp_path / "spool.arrow", replace(LIMITS, batch_rows=100))

    assert opened.call_count == 2
    assert types(result) == {"_id": "int64", "v": "string", "new": "decimal"}
    rows = Spool.open(result.spool).head(1000).to_pylist()
    assert [rows[n] for n in (0, 200, 300)] == [
        {"_id": 0, "v": "0", "new": None},
        *({"_id": n, "v": text, "new": None} for n, text in ((200, "0.5"), (300, "x"))),
    ]
    assert [rows[n]["new"] for n in (400, 500, 600)] == ["1", "9007199254740993", "0.5"]


def test_what_comes_after_max_rows_changes_nothing(mongodb_front: MongoDBFront, tmp_path: Path) -> None:
    late: dict[int, dict[str, Any]] = {200: {"v": 0.5}, 400: {"v": "x"}}
    mongodb_front.insert("t", *({"_id": n, "v": n, **late.get(n, {})} for n in range(500)))
    query = bind_document('{"collection": "t", "sort": {"_id": 1}}', {})

    limits = replace(LIMITS, batch_rows=50, max_rows=250)
    result = connector_of(mongodb_front).spool(query, tmp_path / "spool.arrow", limits)

    assert (types(result)["v"], result.row_count, result.truncated) == ("double", 250, True)


def test_a_page_of_large_documents_is_taken_apart_in_pieces(mongodb_front: MongoDBFront) -> None:
    query = bind_document('{"collection": "wide", "filter": {"n": {"$lte": 7000}}}', {})
    stream = connector_of(mongodb_front).open(query, LIMITS)

    batches = list(stream.batches())

    stream.close()
    assert [n for batch in batches for n in batch.column("n").to_pylist()] == list(range(1, 7001))
    assert max(batch.nbytes for batch in batches) < 5_000_000, "a page of the server has 10 MB"


def test_a_query_may_declare_its_columns(mongodb_front: MongoDBFront, tmp_path: Path) -> None:
    mongodb_front.insert("t", {"_id": 1, "m": bson.Decimal128("1.5"), "who": {"name": "A"}, "more": 1})
    columns = {"who.name": "text", "m": "decimal(9,2)"}

    found, rows = read(connector_of(mongodb_front), {"collection": "t", "columns": columns}, tmp_path)
    empty, none = read(
        connector_of(mongodb_front), {"collection": "t", "filter": {"_id": 2}, "columns": columns}, tmp_path
    )

    assert found == empty == {"who.name": "string", "m": "decimal128(9, 2)"}
    assert (rows, none) == ([{"who.name": "A", "m": Decimal("1.50")}], [])
    with pytest.raises(
        ConfigurationError, match="column report_query: columns is not usable: 'money' is none"
    ):
        read(connector_of(mongodb_front), {"collection": "t", "columns": {"m": "money"}}, tmp_path)


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({"collection": "t"}, ["_id"]),
        ({"collection": "t", "projection": {"_id": 0, "a": 1}}, ["a"]),
        ({"collection": "t", "pipeline": [{"$group": {"_id": "$x", "n": {"$sum": 1}}}]}, ["_id", "n"]),
    ],
)
def test_a_result_without_rows_has_the_columns_that_the_query_names(
    mongodb_front: MongoDBFront, tmp_path: Path, query: dict[str, Any], names: list[str]
) -> None:
    found, rows = read(connector_of(mongodb_front), query, tmp_path)

    assert (found, rows) == (dict.fromkeys(names, "string"), [])


@pytest.mark.parametrize("value", ["$price", "$$ROOT", '{"$gt": ""}', '", "x": "', "it's", "{{other}}", ""])
def test_a_value_is_never_an_operator_or_a_field(
    mongodb_front: MongoDBFront, tmp_path: Path, value: str
) -> None:
    mongodb_front.insert("t", {"_id": 1, "price": 5, "s": value}, {"_id": 2, "price": 5, "s": "else"})
    query = """{"collection": "t", "pipeline": [
        {"$match": {"s": "{{v}}"}}, {"$match": {"$expr": {"$eq": ["$s", {{v}}]}}},
        {"$lookup": {"from": "t", "pipeline": [{"$match": {"s": {"$in": "{{many}}"}}}], "as": "found"}},
        {"$project": {"_id": 1, "given": "{{v}}", "found": {"$size": "$found"}}}]}"""

    _, rows = read(connector_of(mongodb_front), query, tmp_path, v=value, many=[value])

    assert rows == [{"_id": 1, "given": value, "found": 1}]


def test_values_of_every_python_type_are_found(mongodb_front: MongoDBFront, tmp_path: Path) -> None:
    uuid = UUID("12345678-1234-5678-1234-567812345678")
    noon = datetime(2024, 2, 29, 12, tzinfo=UTC)
    mongodb_front.insert(
        "t",
        {
            "_id": bson.ObjectId("6b02745f480d27cfc43d7059"),
            "d": bson.Decimal128("1.50"),
            "day": datetime(2024, 2, 29, tzinfo=UTC),
            "at": noon,
            "u": bson.Binary.from_uuid(uuid),
            "b": True,
            "n": None,
        },
    )
    query = """{"collection": "t", "projection": {"b": 1, "_id": 0}, "filter": {"_id": {"$oid": "{{i}}"},
        "d": "{{d}}", "day": {{day}}, "at": {{at}}, "u": "{{u}}", "b": "{{b}}", "n": "{{n}}"}}"""

    _, rows = read(
        connector_of(mongodb_front),
        query,
        tmp_path,
        i="6b02745f480d27cfc43d7059",
        d=Decimal("1.5"),
        day=date(2024, 2, 29),
        at=noon,
        u=uuid,
        b=True,
        n=None,
    )

    assert rows == [{"b": True}]


def test_an_account_that_may_not_read_is_told_what_it_lacks(
    mongodb_front: MongoDBFront, tmp_path: Path
) -> None:
    connector = connector_of(mongodb_front, url=mongodb_front.url().replace("?authSource=admin&", "?"))

    with pytest.raises(ConfigurationError, match=r"connection_url: the server refused the login"):
        connector.check(5)
    assert connector_of(mongodb_front, url=mongodb_front.url(READER)).check(5).startswith("MongoDB")
    assert connector_of(mongodb_front, url=mongodb_front.url(READER)).writes(5) == ""


def test_the_server_itself_stops_what_takes_too_long(mongodb_front: MongoDBFront, tmp_path: Path) -> None:
    mongodb_front.insert("t", *({"_id": n} for n in range(1000)))
    cross = {"$lookup": {"from": "t", "pipeline": [{"$match": {"_id": {"$gte": 0}}}], "as": "x"}}
    query = json.dumps({"collection": "t", "pipeline": [cross, {"$unwind": "$x"}, {"$count": "n"}]})
    started = time.monotonic()

    with pytest.raises(PermanentError, match=r"longer than timeout_seconds = 0\.3"):
        connector_of(mongodb_front).spool(BoundQuery.of([query]), tmp_path / "s", QueryLimits(0.3, 10))

    assert time.monotonic() - started < 4


def test_what_the_server_refuses_is_told_in_its_words(mongodb_front: MongoDBFront, tmp_path: Path) -> None:
    mongodb_front.insert("t", {"_id": 1})

    with pytest.raises(
        ConfigurationError, match=r"column report_query: the database refused the query: .*\$no"
    ):
        read(connector_of(mongodb_front), {"collection": "t", "pipeline": [{"$no": 1}]}, tmp_path)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("mongodb://h", "names no database"),
        ("mongodb://user:p@ss@h/d", "must be escaped"),
        ("mongodb://h:port/d", "Port contains non-digit"),
        ("mongodb://h/d?readPreference=sometimes", "not a valid read preference"),
    ],
)
def test_a_url_that_is_not_usable_names_the_row(url: str, problem: str) -> None:
    with pytest.raises(
        ConfigurationError, match=rf"report_datasources 7, column connection_url: .*({problem})"
    ):
        MongoDBConnector(DataSource(7, "s", "mongodb", url, {})).check(1)
