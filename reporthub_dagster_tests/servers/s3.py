"""S3 servers on free loopback ports: moto, which can check keys, and localbucket, which knows none."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.request import Request, urlopen

import boto3
import pytest

from reporthub_dagster_tests.servers.process import free_port, started, stop

HOST = "127.0.0.1"
_RIGHTS = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}'


@dataclass
class Bucket:
    """An empty bucket of its own."""

    endpoint: str
    name: str
    client: Any
    access_key: str = "test"
    secret_key: str = "test"

    def content(self, prefix: str = "") -> dict[str, bytes]:
        """Objects below a prefix: file name → bytes."""
        found = self.client.list_objects_v2(Bucket=self.name, Prefix=prefix).get("Contents", [])
        keys = [entry["Key"] for entry in found]
        return {PurePosixPath(key).name: self.read(key)["Body"].read() for key in keys}

    def sizes(self, prefix: str) -> set[int]:
        """Sizes of the objects below a prefix."""
        found = self.client.list_objects_v2(Bucket=self.name, Prefix=prefix).get("Contents", [])
        return {entry["Size"] for entry in found}

    def read(self, key: str) -> Any:
        """An object with its metadata."""
        return self.client.get_object(Bucket=self.name, Key=key)

    def unfinished(self) -> list[Any]:
        """Uploads in parts that were neither completed nor aborted."""
        return list(self.client.list_multipart_uploads(Bucket=self.name).get("Uploads", []))


@pytest.fixture(scope="session")
def s3_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A running moto."""
    with _running("moto_server", tmp_path_factory.mktemp("moto"), "-H", HOST, "-p") as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def other_s3_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A running localbucket."""
    folder = tmp_path_factory.mktemp("localbucket")
    with _running("localbucket", folder, str(folder), "--host", HOST, "--port") as endpoint:
        yield endpoint


@pytest.fixture
def bucket(s3_endpoint: str) -> Bucket:
    """An empty bucket of moto's."""
    return _bucket(s3_endpoint)


@pytest.fixture
def other_bucket(other_s3_endpoint: str) -> Bucket:
    """An empty bucket of localbucket's."""
    return _bucket(other_s3_endpoint)


@pytest.fixture
def verifying_bucket(s3_endpoint: str) -> Iterator[Bucket]:
    """An empty bucket of moto's, which checks every signature until the test has ended."""
    iam = _client(s3_endpoint, service="iam")
    user = f"u-{uuid.uuid4().hex}"
    iam.create_user(UserName=user)
    iam.put_user_policy(UserName=user, PolicyName="all", PolicyDocument=_RIGHTS)
    key = iam.create_access_key(UserName=user)["AccessKey"]
    found = _bucket(s3_endpoint, key["AccessKeyId"], key["SecretAccessKey"])
    _check_keys_after(s3_endpoint, actions=0)
    yield found
    _check_keys_after(s3_endpoint, actions=-1)


@contextmanager
def _running(program: str, folder: Path, *options: str) -> Iterator[str]:
    """The endpoint of a server whose last option is its port."""
    port = free_port()
    command = [str(Path(sys.executable).parent / program), *options, str(port)]
    endpoint = f"http://{HOST}:{port}"
    process = started(
        command,
        folder.parent / f"{program}.log",
        lambda: "Buckets" in _client(endpoint).list_buckets(),
        program,
    )
    try:
        yield endpoint
    finally:
        stop(process)


def _bucket(endpoint: str, access_key: str = "test", secret_key: str = "test") -> Bucket:
    client, name = _client(endpoint, access_key, secret_key), f"b-{uuid.uuid4().hex}"
    client.create_bucket(Bucket=name)
    return Bucket(endpoint, name, client, access_key, secret_key)


def _check_keys_after(endpoint: str, actions: int) -> None:
    """Have moto check keys from so many requests on; for -1 no more."""
    count = str(10**9 if actions < 0 else actions).encode()
    plain = {"Content-Type": "text/plain"}
    urlopen(Request(f"{endpoint}/moto-api/reset-auth", count, plain), timeout=5).close()


def _client(endpoint: str, access_key: str = "test", secret_key: str = "test", service: str = "s3") -> Any:
    return boto3.client(
        service,
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
    )
