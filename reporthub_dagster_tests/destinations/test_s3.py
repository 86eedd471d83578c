"""What only S3 does: keys and prefixes, metadata, parts, and the answers of servers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reporthub_dagster.destinations.environment import DestinationSettings
from reporthub_dagster.destinations.s3 import PART, S3Destination
from reporthub_dagster.network.egress import EgressPolicy
from reporthub_dagster.reporting.errors import ConfigurationError, TransientError
from reporthub_dagster_tests.destinations.parcels import delivery, parcel, rendered, send_all
from reporthub_dagster_tests.servers.s3 import Bucket
from reporthub_dagster_tests.servers.web import Answer, WebServer


def to(bucket: Bucket, *recipients: str, egress: EgressPolicy | None = None, **options: Any) -> S3Destination:
    row = {
        "bucket": bucket.name,
        "endpoint_url": bucket.endpoint,
        "access_key": "AKIAEXAMPLE",
        "secret_key": "c4nary-s3cret",
        **options,
    }
    settings = DestinationSettings(timeout_seconds=5, egress=egress or EgressPolicy())
    return S3Destination(delivery("s3", row, *recipients), settings)


def key_of(bucket: Bucket) -> str:
    (entry,) = bucket.client.list_objects_v2(Bucket=bucket.name)["Contents"]
    return str(entry["Key"])


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({}, "flights.csv"),
        ({"prefix": "a/{{start_date}}/"}, "a/2013-01-01/flights.csv"),
        ({"key": "a/latest.csv"}, "a/latest.csv"),
        ({"key": "a/latest"}, "a/latest"),
        ({"key": "/{start_date}/{{file_name}}"}, "2013-01-01/flights.csv"),
    ],
)
def test_keys_and_prefixes(bucket: Bucket, tmp_path: Path, options: dict[str, Any], key: str) -> None:
    (receipt,) = send_all(to(bucket, **options), parcel(rendered(tmp_path)))
    assert (receipt.state, receipt.detail) == ("sent", f"s3://{bucket.name}/{key}")
    assert key_of(bucket) == key


def test_the_object_says_what_it_is(bucket: Bucket, tmp_path: Path) -> None:
    file = rendered(tmp_path)
    send_all(to(bucket, acl="private"), parcel(file))
    found = bucket.read("flights.csv")
    assert found["Metadata"] == {"execution-id": "e-1", "sha256": file.sha256}
    assert found["ContentType"] == "text/csv"


def test_the_server_that_it_shares_with_others_holds_nothing_but_its_place(bucket: Bucket) -> None:
    endpoint = bucket.endpoint.replace("://", "://user:c4nary@") + "/path"
    assert to(bucket, endpoint_url=endpoint).server_of("a") == bucket.endpoint
    amazon = to(bucket, endpoint_url=None, region="eu-west-1")
    assert amazon.server_of("a") == "https://s3.eu-west-1.amazonaws.com"


def test_a_region_that_cannot_be_is_named(bucket: Bucket) -> None:
    with pytest.raises(ConfigurationError, match="'Europe!'") as caught:
        to(bucket, region="Europe!").check()
    assert caught.value.column == "delivery_config.region"


def test_several_files_under_one_key_are_refused(bucket: Bucket, tmp_path: Path) -> None:
    files = [rendered(tmp_path, name) for name in ("a.csv", "b.pdf")]
    (receipt,) = send_all(to(bucket, key="x"), parcel(*files))
    assert receipt.state == "refused"
    assert "{{file_name}}" in receipt.detail


@pytest.mark.parametrize("value", ["..", "a/b", ""])
def test_a_value_cannot_lead_elsewhere(bucket: Bucket, tmp_path: Path, value: str) -> None:
    (receipt,) = send_all(to(bucket, prefix="a/{{tenant}}"), parcel(rendered(tmp_path), tenant=value))
    assert receipt.state == "refused"
    assert bucket.content() == {}


def test_parts_that_cannot_be_completed_are_aborted(bucket: Bucket, tmp_path: Path) -> None:
    file = rendered(tmp_path, content=b"x" * (2 * PART + 1))
    file.path.write_bytes(b"y" * file.size)
    (receipt,) = send_all(to(bucket), parcel(file))
    assert receipt.state == "refused"
    assert "changed after it was rendered" in receipt.detail
    assert bucket.unfinished() == []
    assert bucket.content() == {}


@pytest.mark.parametrize("size", [PART, PART + 1])
def test_files_at_the_edge_of_a_part_arrive_whole(bucket: Bucket, tmp_path: Path, size: int) -> None:
    file = rendered(tmp_path, content=b"x" * size)
    assert send_all(to(bucket), parcel(file))[0].state == "sent"
    assert len(bucket.content()["flights.csv"]) == size


def error(code: str) -> str:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>c4nary-s3cret</Message></Error>"


@pytest.mark.parametrize(
    ("status", "code", "state", "column"),
    [
        (403, "InvalidAccessKeyId", "refused", "access_key"),
        (403, "SignatureDoesNotMatch", "refused", "access_key"),
        (403, "AccessDenied", "refused", "bucket"),
        (404, "NoSuchBucket", "refused", "bucket"),
        (400, "AuthorizationHeaderMalformed", "refused", "region"),
        (400, "EntityTooLarge", "refused", ""),
        (403, "QuotaExceeded", "retry", ""),
        (503, "SlowDown", "retry", ""),
        (507, "InsufficientStorage", "retry", ""),
    ],
)
def test_what_an_answer_means(
    web_server: WebServer, tmp_path: Path, status: int, code: str, state: str, column: str
) -> None:
    web_server.answer("*", *[Answer(status, {"Content-Type": "application/xml"}, error(code))] * 3)
    bucket = Bucket(f"http://127.0.0.1:{web_server.port}", "b", None)
    (receipt,) = send_all(to(bucket), parcel(rendered(tmp_path)))
    assert (receipt.state, receipt.needs_person) == (state, bool(column))
    assert code in receipt.detail
    assert column in receipt.detail
    assert "c4nary" not in receipt.detail


def test_a_strict_policy_holds_inside_the_client(web_server: WebServer, tmp_path: Path) -> None:
    bucket = Bucket(f"http://127.0.0.1:{web_server.port}", "b", None)
    (receipt,) = send_all(to(bucket, egress=EgressPolicy.parse("strict")), parcel(rendered(tmp_path)))
    assert (receipt.state, receipt.needs_person) == ("refused", True)
    assert "REPORTHUB_EGRESS_ALLOW" in receipt.detail
    assert web_server.connections == 0


def test_check_leaves_nothing(bucket: Bucket) -> None:
    assert "takes uploads" in to(bucket, "x/y", prefix="z").check()
    assert bucket.content() == {}
    assert bucket.unfinished() == []
    with pytest.raises(ConfigurationError, match=r"delivery_config\.bucket"):
        to(Bucket(bucket.endpoint, "no-such-bucket", None)).check()
    with pytest.raises(TransientError, match="cannot be reached"):
        to(bucket, endpoint_url="http://127.0.0.1:1").check()
