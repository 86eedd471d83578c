"""What the errors of BigQuery's API, of its jobs and of the connection mean for a report."""

from __future__ import annotations

import concurrent.futures
import re
from typing import Any

import google.auth.exceptions
import requests
from google.api_core.exceptions import (
    DeadlineExceeded,
    Forbidden,
    GoogleAPICallError,
    GoogleAPIError,
    NotFound,
    RetryError,
    Unauthenticated,
)

from reporthub_dagster.connectors.base import QueryLimits, refused, timed_out
from reporthub_dagster.connectors.connection_errors import cause_of, row_at_fault
from reporthub_dagster.connectors.sql import DriverConnector
from reporthub_dagster.reporting.errors import PermanentError, ReportHubError, TransientError

FAILURES = (
    GoogleAPIError,
    google.auth.exceptions.GoogleAuthError,
    requests.RequestException,
    concurrent.futures.TimeoutError,
    OSError,
    ValueError,
)
_NOT_NOW = frozenset(
    {
        "rateLimitExceeded",
        "backendError",
        "internalError",
        "jobBackendError",
        "jobInternalError",
        "tableUnavailable",
    }
)
_SERVER_FAULT = 500
_REQUEST = re.compile(r"^[A-Z]+ https?://\S+: ")
"""What the client puts before the server's words; where the job ran comes after them."""
_NO_PLACE = re.compile(r"Not found: (Dataset|Project)", re.IGNORECASE)


def explain(connector: DriverConnector[Any], error: Exception, limits: QueryLimits) -> ReportHubError:
    """Translate an error of the API, of signing in or of the connection."""
    cause = error.cause if isinstance(error, RetryError) and isinstance(error.cause, Exception) else error
    told = _REQUEST.sub("", str(getattr(cause, "message", None) or cause)).partition("\n\nLocation:")[0]
    words = connector.plain(told) or type(cause).__name__
    at_fault = row_at_fault(connector, cause_of(cause), words)
    if at_fault is not None:
        return at_fault
    if isinstance(cause, google.auth.exceptions.TransportError):
        return TransientError(f"the server that signs in cannot be reached: {words}")
    if isinstance(cause, (google.auth.exceptions.GoogleAuthError, Unauthenticated)):
        return connector.misconfigured(
            f"the server refused the login: {words}",
            column="connection_config",
            valid="give the JSON key of a service account that exists as credentials",
        )
    if isinstance(cause, (concurrent.futures.TimeoutError, DeadlineExceeded)):
        return timed_out(limits)
    if isinstance(cause, GoogleAPICallError):
        return _answered(connector, cause, words, limits)
    return TransientError(f"the database server cannot be reached: {words}")


def _answered(
    connector: DriverConnector[Any], error: GoogleAPICallError, words: str, limits: QueryLimits
) -> ReportHubError:
    reasons = {one.get("reason") for one in error.errors if isinstance(one, dict)}
    if "timeout" in reasons:
        return timed_out(limits)
    if "stopped" in reasons:
        return PermanentError(f"somebody stopped the query on the server: {words}")
    if reasons & _NOT_NOW or (error.code or 0) >= _SERVER_FAULT:
        return TransientError(f"the database could not finish the query now: {words}")
    return _misconfigured(connector, error, words, reasons) or refused(words)


def _misconfigured(
    connector: DriverConnector[Any], error: GoogleAPICallError, words: str, reasons: set[Any]
) -> ReportHubError | None:
    if "bytesBilledLimitExceeded" in reasons:
        return connector.misconfigured(
            f"the query would cost more than it may: {words}",
            column="connection_config",
            valid="let it read less, or raise maximum_bytes_billed",
        )
    if isinstance(error, Forbidden):
        return connector.misconfigured(
            f"a right is missing: {words}",
            valid="grant the account BigQuery Job User on the project and Data Viewer on what it reads",
        )
    if isinstance(error, NotFound) and _NO_PLACE.match(words):
        return connector.misconfigured(
            f"the project or dataset cannot be used: {words}", valid="write bigquery://project/dataset"
        )
    return None
