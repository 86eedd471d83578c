"""What Trino's errors, and those of HTTP below them, mean for a report."""

from __future__ import annotations

import re
from typing import Any

import requests
from trino.exceptions import HttpError, TrinoQueryError

from reporthub_dagster.connectors.base import QueryLimits, refused, timed_out
from reporthub_dagster.connectors.connection_errors import cause_of, row_at_fault
from reporthub_dagster.connectors.sql import DriverConnector
from reporthub_dagster.reporting.errors import PermanentError, ReportHubError, TransientError

NO_RIGHT = "PERMISSION_DENIED"
_TIMED_OUT = frozenset({"EXCEEDED_TIME_LIMIT"})
_STOPPED = frozenset({"USER_CANCELED", "ADMINISTRATIVELY_KILLED", "ABANDONED_QUERY"})
_NOT_FOUND = frozenset(
    {"CATALOG_NOT_FOUND", "SCHEMA_NOT_FOUND", "MISSING_CATALOG_NAME", "MISSING_SCHEMA_NAME"}
)
_NOT_NOW = frozenset({"INTERNAL_ERROR", "INSUFFICIENT_RESOURCES", "EXTERNAL"})
"""Types of error that are not about the query: a later try may do."""
_STATUS = re.compile(r"error (\d+)")
_NOT_LET_IN = frozenset({401, 403})
_LATER = frozenset({404, 408, 410, 429, 500, 502, 503, 504})
"""404 and 410: the server knows the query no more, as after its restart."""


def explain(connector: DriverConnector[Any], error: Exception, limits: QueryLimits) -> ReportHubError:
    """Translate an error of the server, of HTTP or of the connection."""
    if isinstance(error, TrinoQueryError):
        return _answered(connector, error, limits)
    words = connector.plain(error) or type(error).__name__
    if isinstance(error, HttpError):
        return _status(connector, words)
    at_fault = row_at_fault(connector, cause_of(error), words)
    if at_fault is not None:
        return at_fault
    if isinstance(error, ValueError) and not isinstance(error, requests.RequestException):
        return connector.misconfigured(
            f"what answers there is no Trino server: {words}", valid="correct the host and the port"
        )
    return TransientError(f"the database server cannot be reached: {words}")


def _answered(connector: DriverConnector[Any], error: TrinoQueryError, limits: QueryLimits) -> ReportHubError:
    name = error.error_name or ""
    words = connector.plain(f"{name.replace('_', ' ').capitalize()}: {error.message}")
    if name in _TIMED_OUT:
        return timed_out(limits)
    if name in _STOPPED:
        return PermanentError(f"somebody stopped the query on the server: {words}")
    if name == NO_RIGHT:
        return connector.misconfigured(
            f"a right is missing: {words}", valid="let this user select from what the query reads"
        )
    if name in _NOT_FOUND:
        return connector.misconfigured(
            f"the catalog or schema cannot be used: {words}",
            valid="write trino://user@host:port/catalog/schema, or correct the names in the query",
        )
    if error.error_type in _NOT_NOW:
        return TransientError(f"the database could not finish the query now: {words}")
    return refused(words)


def _status(connector: DriverConnector[Any], words: str) -> ReportHubError:
    found = _STATUS.match(words)
    status = int(found[1]) if found else 0
    if status in _NOT_LET_IN:
        return connector.misconfigured(
            f"the server refused the login: {words}", valid="correct the user, the password or the token"
        )
    if status in _LATER:
        return TransientError(f"the database could not finish the query now: {words}")
    return refused(words)
