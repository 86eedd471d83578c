"""What ClickHouse's error codes, and the socket's errors below them, mean for a report."""

from __future__ import annotations

from typing import Any

from reporthub_dagster.connectors.base import QueryLimits, refused, timed_out
from reporthub_dagster.connectors.clickhouse_http import ClickHouseError
from reporthub_dagster.connectors.connection_errors import row_at_fault
from reporthub_dagster.connectors.sql import DriverConnector
from reporthub_dagster.reporting.errors import PermanentError, ReportHubError, TransientError

_TIMED_OUT = {159, 160}
_STOPPED = {394}
_NOT_LET_IN = {192, 193, 194, 516}
_NO_DATABASE = {81}
_NO_RIGHT = {497}
_TRY_AGAIN = {202, 203, 209, 210, 242, 243, 252, 279, 319, 999}
_MEMORY, _READONLY = 241, 164


def explain(connector: DriverConnector[Any], error: Exception, limits: QueryLimits) -> ReportHubError:
    """Translate the server's word, or an error of the connection."""
    words = connector.plain(error) or type(error).__name__
    if isinstance(error, ClickHouseError):
        return _answered(connector, error.code, words, limits)
    at_fault = row_at_fault(connector, error, words)
    if at_fault is not None:
        return at_fault
    if isinstance(error, (ConnectionRefusedError, TimeoutError)):
        return TransientError(f"the database server cannot be reached: {words}")
    return TransientError(f"the connection to the database was lost: {words}")


def _answered(connector: DriverConnector[Any], code: int, words: str, limits: QueryLimits) -> ReportHubError:
    if code in _TIMED_OUT:
        return timed_out(limits)
    if code in _STOPPED:
        return PermanentError(f"somebody stopped the query on the server: {words}")
    if code in _TRY_AGAIN or (code == _MEMORY and "(total)" in words):
        return TransientError(f"the database could not finish the query now: {words}")
    return _refused(connector, code, words)


def _refused(connector: DriverConnector[Any], code: int, words: str) -> ReportHubError:
    if code in _NOT_LET_IN:
        return connector.misconfigured(
            f"the server refused the login: {words}", valid="correct the user or the password"
        )
    if code in _NO_DATABASE:
        return connector.misconfigured(f"the database cannot be used: {words}", valid="correct its name")
    if code in _NO_RIGHT:
        return connector.misconfigured(
            f"a right is missing: {words}", valid="grant this user SELECT on what the query reads"
        )
    if code == _READONLY and "setting" in words:
        return connector.misconfigured(
            f"the account may not limit its own time: {words}",
            valid="give its profile readonly = 2: it may then set limits, and write as little",
        )
    return refused(words)
