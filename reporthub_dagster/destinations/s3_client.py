"""An S3 client that connects where the policy lets it, and what its errors mean.

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
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,  # noqa: A004 - botocore's name
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
    SSLError,
)

from reporthub_dagster.network.egress import EgressError, EgressPolicy
from reporthub_dagster.reporting.errors import (
    ConfigurationError,
    PermanentError,
    ReportHubError,
    TransientError,
)

_LATER = frozenset({"SlowDown", "RequestTimeout", "Throttling", "OperationAborted", "QuotaExceeded"})
_KEYS = ("access_key", "set access_key and secret_key, or the credentials of the environment")
_RIGHTS = ("bucket", "let these credentials s3:PutObject and s3:AbortMultipartUpload there")
_REGION = ("region", "set the region of the bucket")
_FIX = {
    "NoSuchBucket": ("bucket", "create it, or correct its name"),
    "InvalidBucketName": ("bucket", "correct its name"),
    "InvalidAccessKeyId": _KEYS,
    "SignatureDoesNotMatch": _KEYS,
    "ExpiredToken": _KEYS,
    "InvalidToken": _KEYS,
    "AccessDenied": _RIGHTS,
    "AllAccessDisabled": _RIGHTS,
    "AccessControlListNotSupported": ("acl", "remove it: the bucket takes none"),
    "PermanentRedirect": _REGION,
    "AuthorizationHeaderMalformed": _REGION,
}
_LATER_STATUS, _SERVER_ERROR = 429, 500


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
    """A client of one delivery.

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


def translated(error: Exception, where: str, row: int) -> ReportHubError:
    """boto3's exceptions as ours.

    Args:
        error: What was raised.
        where: The bucket, for people.
        row: The row of `report_deliveries`.
    """
    if isinstance(error, ClientError):
        return _answered(error, where, row)
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return _wrong(f"{where}: there are no credentials", *_KEYS, row)
    if isinstance(error, SSLError):
        cure = "set delivery_config.tls_ca_file to the PEM file of its authority"
        return _wrong(f"{where}: the certificate is not trusted", "endpoint_url", cure, row)
    inner = error.kwargs.get("error") if isinstance(error, BotoCoreError) else None
    if isinstance(inner, EgressError):
        return inner
    if isinstance(error, HTTPClientError | ConnectionError):
        return TransientError(f"{where} cannot be reached: {type(error).__name__}")
    return _wrong(f"{where}: {error}", "bucket", "correct the settings", row)


def _answered(error: ClientError, where: str, row: int) -> ReportHubError:
    """By the code alone: messages may repeat keys."""
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    told = f"{where} answered {status} {code}"
    if code in _LATER or status == _LATER_STATUS or status >= _SERVER_ERROR:
        return TransientError(told)
    named = {"403": "AccessDenied", "404": "NoSuchBucket", "301": "PermanentRedirect"}.get(code, code)
    if named in _FIX:
        setting, cure = _FIX[named]
        return _wrong(told, setting, cure, row)
    return PermanentError(told)


def _wrong(problem: str, setting: str, cure: str, row: int) -> ConfigurationError:
    return ConfigurationError(
        problem, table="report_deliveries", row=row, column=f"delivery_config.{setting}", valid=cure
    )


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
