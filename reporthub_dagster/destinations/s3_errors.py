"""What boto3's exceptions mean for a delivery: the one place where they end."""

from __future__ import annotations

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,  # noqa: A004 - botocore's name
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
    SSLError,
)

from reporthub_dagster.network.egress import EgressError
from reporthub_dagster.reporting.errors import (
    ConfigurationError,
    PermanentError,
    ReportHubError,
    TransientError,
    UnreachableError,
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
        return UnreachableError(f"{where} cannot be reached: {type(error).__name__}")
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
