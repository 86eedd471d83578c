"""What the error numbers of MySQL and MariaDB mean for a report; both servers' manuals list them."""

from __future__ import annotations

from typing import Any

from reporthub_dagster.connectors.base import QueryLimits, refused, timed_out
from reporthub_dagster.connectors.connection_errors import row_at_fault
from reporthub_dagster.connectors.sql import SQLConnector
from reporthub_dagster.reporting.errors import PermanentError, ReportHubError, TransientError

_TIMED_OUT = {1969, 3024}
_KILLED = {1317}
_UNREACHABLE = {2002, 2003, 2005}
_TRY_AGAIN = {
    *(1040, 1129, 1203, 1226),  # too many connections, of everybody or of this user
    *(1205, 1213),  # lock timeout, deadlock
    *(1053, 1077, 1079, 1152, 1158, 1159, 1160, 1161, 1184, 1927, 4031),  # going away, lost on the way
    *(2006, 2013, 2055),  # the connection is gone
    *(1021, 1037, 1041),  # disk or memory full for now
}
_NOT_LET_IN = {1045, 1130, 1251, 1698, 1820, 1862, 2059, 2061, 3118, 3955, 4151}
_TLS = {2026}
_NO_DATABASE = {1044, 1046, 1049}
_NO_RIGHT = {1142, 1143, 1227, 1370}
_UNKNOWN_TIME_ZONE = 1298


def explain(connector: SQLConnector[Any], error: Exception, limits: QueryLimits) -> ReportHubError:
    """Translate an error of PyMySQL or of the socket below it."""
    if isinstance(error, OSError):
        return _unreachable(connector, error, connector.plain(error))
    number = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    words = connector.plain(error.args[1] if len(error.args) > 1 else error)
    if number in _TIMED_OUT:
        return timed_out(limits)
    if number in _KILLED:
        return PermanentError(f"somebody stopped the query on the server: {words}")
    if number in _UNREACHABLE:
        return _unreachable(connector, getattr(error, "original_exception", error), words)
    if number in _TRY_AGAIN:
        return TransientError(f"the database could not finish the query now: {words}")
    return _refused(connector, number, words)


def _unreachable(connector: SQLConnector[Any], cause: Exception, words: str) -> ReportHubError:
    at_fault = row_at_fault(connector, cause, words)
    return at_fault or TransientError(f"the database server cannot be reached: {words}")


def _refused(connector: SQLConnector[Any], number: int, words: str) -> ReportHubError:
    if number in _NOT_LET_IN:
        return connector.misconfigured(
            f"the server refused the login: {words}", valid="correct the user or the password"
        )
    if number in _NO_DATABASE:
        return connector.misconfigured(
            f"the database cannot be used: {words}", valid="correct its name, or grant this user access to it"
        )
    if number in _NO_RIGHT:
        return connector.misconfigured(
            f"a right is missing: {words}", valid="grant this user SELECT on what the query reads"
        )
    if number in _TLS:
        return connector.misconfigured(
            f"no TLS connection: {words}", column="connection_config", valid="correct the ssl_ options"
        )
    if number == _UNKNOWN_TIME_ZONE:
        return connector.misconfigured(
            f"time_zone is not usable: {words}",
            column="connection_config",
            valid="give an offset such as +07:00, or load the server's time zone tables",
        )
    return refused(words)
