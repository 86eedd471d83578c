"""An S3 client that connects where the policy lets it.

boto3 has no seam for connecting: this module alone reaches into its HTTP session.
"""

from __future__ import annotations

import socket
from typing import Any

import boto3
from botocore.awsrequest import (
    AWSHTTPConnection,
    AWSHTTPConnectionPool,
    AWSHTTPSConnection,
    AWSHTTPSConnectionPool,
)
from botocore.config import Config

from reporthub_dagster.network.egress import EgressPolicy


def s3_client(
    policy: EgressPolicy,
    timeout: float,
    *,
    region: str | None,
    endpoint_url: str | None,
    access_key: str | None,
    secret_key: str | None,
    session_token: str | None,
    ca_file: str | None,
) -> Any:
    """A client of one delivery or one query.

    The hash of every body is signed, so that no server takes one that changed on the way; other checksums are
    left out, which older servers do not know.

    Raises:
        ValueError: The endpoint is no URL.
    """
    config = Config(
        connect_timeout=timeout,
        read_timeout=timeout,
        retries={"total_max_attempts": 2, "mode": "standard"},
        proxies={},
        signature_version="s3v4",
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"payload_signing_enabled": True, "addressing_style": "path" if endpoint_url else "auto"},
    )
    client = boto3.session.Session().client(
        "s3",
        region_name=region or "us-east-1",
        endpoint_url=endpoint_url,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        aws_session_token=session_token,
        verify=ca_file or True,
        config=config,
    )
    manager = client._endpoint.http_session._manager  # noqa: SLF001 - see above
    manager.pool_classes_by_scheme = _pools(policy, timeout)
    return client


def _pools(policy: EgressPolicy, timeout: float) -> dict[str, type]:
    """urllib3's connection pools with our way to connect."""

    class Plain(AWSHTTPConnection):  # type: ignore[misc]
        def _new_conn(self) -> socket.socket:
            return policy.connect(self.host, self.port, timeout)

    class Encrypted(AWSHTTPSConnection):  # type: ignore[misc]
        def _new_conn(self) -> socket.socket:
            return policy.connect(self.host, self.port, timeout)

    class PlainPool(AWSHTTPConnectionPool):  # type: ignore[misc]
        ConnectionCls = Plain

    class EncryptedPool(AWSHTTPSConnectionPool):  # type: ignore[misc]
        ConnectionCls = Encrypted

    return {"http": PlainPool, "https": EncryptedPool}
