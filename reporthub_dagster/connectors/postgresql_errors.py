"""What PostgreSQL's SQLSTATEs, and libpq's words where there is none, mean for a report.

https://www.postgresql.org/docs/current/errcodes-appendix.html; a failed connection has no SQLSTATE, so its
message is read. A server that speaks another language falls under "try again", as everything unknown there.
"""

from __future__ import annotations

from typing import Any

import psycopg

from reporthub_dagster.connectors.base import QueryLimits, refused, timed_out
from reporthub_dagster.connectors.sql import SQLConnector
from reporthub_dagster.reporting.errors import PermanentError, ReportHubError, TransientError

_CANCELED = "57014"
_NO_RIGHT = "42501"
_TRY_AGAIN = (
    *("08", "53"),  # the connection; out of connections, memory or disk
    *("40001", "40P01", "55P03"),  # serialization, deadlock, lock timeout
    *("57P01", "57P02", "57P03", "57P05", "25P03", "25P04"),  # going away, starting up, idle too long
)
_LOGIN = ("28", "3D000")
_CONNECTING = ("connection failed", "connection is bad")
_UNKNOWN_HOST = "failed to resolve host"
_FOR_NOW = "[Errno -3]"
_LOGIN_WORDS = ("authentication failed", "no password supplied", "does not exist", "no pg_hba.conf entry")
_OPTION_WORDS = ("certificate", "private key", "does not support SSL", "invalid ")
_TIME_ZONE_WORDS = 'invalid value for parameter "TimeZone"'


def explain(connector: SQLConnector[Any], error: Exception, limits: QueryLimits) -> ReportHubError:
    """Translate an error of psycopg."""
    state = getattr(error, "sqlstate", None) or ""
    if not state:
        return _no_state(connector, error)
    words = connector.plain(_words(error))
    if state == _CANCELED and "timeout" in words:
        return timed_out(limits)
    if state.startswith(_TRY_AGAIN):
        return TransientError(f"the database could not finish the query now: {words}")
    if state.startswith(_LOGIN):
        return _not_let_in(connector, words)
    return _refused(connector, state, words)


def _refused(connector: SQLConnector[Any], state: str, words: str) -> ReportHubError:
    if state == _CANCELED:
        return PermanentError(f"somebody stopped the query on the server: {words}")
    if state == _NO_RIGHT:
        return connector.misconfigured(
            f"a right is missing: {words}", valid="grant this user SELECT on what the query reads"
        )
    if _TIME_ZONE_WORDS in words:
        return connector.misconfigured(
            f"time_zone is not usable: {words}",
            column="connection_config",
            valid="give a name that the server knows, such as Asia/Jakarta",
        )
    return refused(words)


def _no_state(connector: SQLConnector[Any], error: Exception) -> ReportHubError:
    words = connector.plain(error)
    if not isinstance(error, psycopg.OperationalError):
        return refused(words)
    if words.startswith(_UNKNOWN_HOST) and _FOR_NOW not in words:
        return connector.misconfigured(f"unknown host: {words}", valid="correct the host name")
    connecting = words.startswith(_CONNECTING)
    if connecting and any(known in words for known in _OPTION_WORDS):
        return connector.misconfigured(
            f"no connection with these options: {words}",
            column="connection_config",
            valid="correct sslmode, ssl_ca, ssl_cert and ssl_key, or set ssl_check_hostname to false when "
            "the certificate names another host",
        )
    if connecting and any(known in words for known in _LOGIN_WORDS):
        return _not_let_in(connector, words)
    if connecting or words.startswith(_UNKNOWN_HOST):
        return TransientError(f"the database server cannot be reached: {words}")
    return TransientError(f"the connection to the database was lost: {words}")


def _not_let_in(connector: SQLConnector[Any], words: str) -> ReportHubError:
    return connector.misconfigured(
        f"the server refused the login: {words}",
        valid="correct user, password and database, and see that pg_hba.conf lets this machine in",
    )


def _words(error: Exception) -> str:
    """The server's message and hint, without the line of the statement that it quotes."""
    if not isinstance(error, psycopg.Error) or not error.diag.message_primary:
        return str(error)
    return " ".join(filter(None, (error.diag.message_primary, error.diag.message_hint)))
