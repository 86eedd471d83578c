"""An S3 client that connects where the policy lets it.

boto3 has no seam for connecting: this module alone reaches into its HTTP session.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
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
from reporthub_dagster.network.limited_response import limited_response

_ANSWER_SECONDS = 900.0
"""S3 itself puts a large object together for minutes, and sends spaces meanwhile."""
_DOCUMENT_BYTES = 64_000_000


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
    answer_seconds: Callable[[], float] = lambda: _ANSWER_SECONDS,
) -> Any:
    """A client of one delivery or one query.

    The hash of every body is signed, so that no server takes one that changed on the way; other checksums are
    left out, which older servers do not know.

    Args:
        policy: Which addresses may be reached.
        timeout: Seconds for connecting, and for each piece that is read or written.
        region: As boto3 has it; so are the next ones.
        endpoint_url: Of another S3 than Amazon's.
        access_key: Without keys, the credentials of the environment.
        secret_key: With it.
        session_token: With it.
        ca_file: PEM file of the authorities to trust instead of the system's.
        answer_seconds: How long an answer may take from its first byte to its last.

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
    manager.pool_classes_by_scheme = _pools(policy, timeout, answer_seconds)
    return client


def _pools(policy: EgressPolicy, timeout: float, answer_seconds: Callable[[], float]) -> dict[str, type]:
    """urllib3's connection pools with our way to connect, and limits for answers."""
    content = limited_response(answer_seconds)
    document = limited_response(answer_seconds, _DOCUMENT_BYTES)

    def guarded(base: Any) -> Any:
        class Guarded(base):  # type: ignore[misc]
            response_class = content

            def _new_conn(self) -> socket.socket:
                return policy.connect(self.host, self.port, timeout)

            def putrequest(self, method: str, url: str, *args: Any, **kwargs: Any) -> None:
                self.response_class = content if _is_content(method, url) else document
                super().putrequest(method, url, *args, **kwargs)

        return Guarded

    class PlainPool(AWSHTTPConnectionPool):  # type: ignore[misc]
        ConnectionCls = guarded(AWSHTTPConnection)

    class EncryptedPool(AWSHTTPSConnectionPool):  # type: ignore[misc]
        ConnectionCls = guarded(AWSHTTPSConnection)

    return {"http": PlainPool, "https": EncryptedPool}


def _is_content(method: str, url: str) -> bool:
    """Whether an object is asked for, which is streamed; all else is read at once."""
    return method == "GET" and "list-type=" not in url
