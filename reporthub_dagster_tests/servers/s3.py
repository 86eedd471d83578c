"""moto's S3 on a free loopback port: any S3 client can speak to it; it does not check keys."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.request import urlopen

import boto3
import pytest

from reporthub_dagster_tests.servers.process import free_port, stop, wait_until

HOST = "127.0.0.1"


@dataclass
class Bucket:
    """An empty bucket of its own."""

    endpoint: str
    name: str
    client: Any

    def content(self, prefix: str = "") -> dict[str, bytes]:
        """Objects below a prefix: file name → bytes."""
        found = self.client.list_objects_v2(Bucket=self.name, Prefix=prefix).get("Contents", [])
        keys = [entry["Key"] for entry in found]
        return {PurePosixPath(key).name: self.read(key)["Body"].read() for key in keys}

    def read(self, key: str) -> Any:
        """An object with its metadata."""
        return self.client.get_object(Bucket=self.name, Key=key)

    def unfinished(self) -> list[Any]:
        """Uploads in parts that were neither completed nor aborted."""
        return list(self.client.list_multipart_uploads(Bucket=self.name).get("Uploads", []))


@pytest.fixture(scope="session")
def s3_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A running server."""
    port = free_port()
    log = tmp_path_factory.mktemp("s3") / "moto.log"
    command = [str(Path(sys.executable).parent / "moto_server"), "-H", HOST, "-p", str(port)]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
    try:
        wait_until(lambda: urlopen(f"http://{HOST}:{port}/moto-api/", timeout=1).status == 200, "moto", 60)
        yield f"http://{HOST}:{port}"
    finally:
        stop(process)


@pytest.fixture
def bucket(s3_endpoint: str) -> Bucket:
    """An empty bucket."""
    client = boto3.client(
        "s3",
        endpoint_url=s3_endpoint,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    name = f"b-{uuid.uuid4().hex}"
    client.create_bucket(Bucket=name)
    return Bucket(s3_endpoint, name, client)
