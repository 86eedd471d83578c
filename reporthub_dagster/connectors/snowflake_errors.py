"""What Snowflake's error numbers, and those of its driver, mean for a report."""

from __future__ import annotations

import re
from typing import Any

import snowflake.connector.errors

from reporthub_dagster.connectors.base import QueryLimits, refused, timed_out
from reporthub_dagster.connectors.connection_errors import row_at_fault
from reporthub_dagster.connectors.sql import DriverConnector
from reporthub_dagster.reporting.errors import PermanentError, ReportHubError, TransientError

_TIMED_OUT = frozenset({630, 631})
_STOPPED = frozenset({604})
_NOT_LET_IN = re.compile(r"39\d{4}|Incorrect username or password|JWT token is invalid", re.IGNORECASE)
_NO_RIGHT = frozenset({3001})
_NO_SESSION_PLACE = frozenset({90105, 90106, 606})
_NUMBER = re.compile(r"^(?:\d{6}(?: \(\w+\))?: )+")
_REQUEST = re.compile(r" ?\((?:request_id|sfqid)=[\w-]+\)$")
"""What the driver puts around the server's words."""


def explain(connector: DriverConnector[Any], error: Exception, limits: QueryLimits) -> ReportHubError:
    """Translate an error of the server or of the driver."""
    words = _REQUEST.sub("", _NUMBER.sub("", connector.plain(error))) or type(error).__name__
    at_fault = row_at_fault(connector, error, words)
    if at_fault is not None:
        return at_fault
    number = getattr(error, "errno", None) or 0
    if number in _TIMED_OUT:
        return timed_out(limits)
    if number in _STOPPED:
        return PermanentError(f"somebody stopped the query on the server: {words}")
    misconfigured = _misconfigured(connector, number, words)
    if misconfigured is not None:
        return misconfigured
    if isinstance(error, snowflake.connector.errors.ProgrammingError):
        return refused(words)
    return TransientError(f"the database server cannot be reached: {words}")


def _misconfigured(connector: DriverConnector[Any], number: int, words: str) -> ReportHubError | None:
    if _NOT_LET_IN.search(f"{number} {words}"):
        return connector.misconfigured(
            f"the server refused the login: {words}",
            valid="correct the user, the password or the private key",
        )
    if number in _NO_RIGHT:
        return connector.misconfigured(
            f"a right is missing: {words}", valid="grant the role SELECT on what the query reads"
        )
    if number in _NO_SESSION_PLACE:
        return connector.misconfigured(
            f"the session has no database, schema or warehouse: {words}",
            valid="write snowflake://user@account/database/schema?warehouse=name",
        )
    return None
