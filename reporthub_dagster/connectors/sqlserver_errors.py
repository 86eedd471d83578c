"""What SQL Server's and its driver's errors mean for a report.

The driver tells the class of an error (SQLSTATE) but not the server's number, so messages are read where the
class is not enough. A server that speaks another language is told in its words, as everything unknown is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import mssql_python

from reporthub_dagster.connectors.base import QueryLimits, refused, timed_out
from reporthub_dagster.connectors.connection_errors import row_at_fault
from reporthub_dagster.connectors.patience import QueryStoppedError
from reporthub_dagster.connectors.sql import DriverConnector
from reporthub_dagster.reporting.errors import PermanentError, ReportHubError, TransientError

_PREFIX = re.compile(r"^(?:\[[^\]]*\])+")
_STATE = re.compile(r"\[(\w{5})\]")
_LOST = (
    *("Communication link failure", "Connection not open", "Server rejected the connection"),
    *("Connection failure during transaction", "Connection timeout expired", "Statement completion unknown"),
)
_NOT_LET_IN = "Invalid authorization specification"
_NOT_REACHED = "Client unable to establish connection"
_DEADLOCK = "Serialization failure"
_OUT_OF_TIME = "Timeout expired"
_NOT_LOADED = ("Specified driver could not be loaded", "Failed to load", "cannot open shared object")
_UNKNOWN_HOST = ("0x2AF9", "0x2AFA", "0x2AFC")
_TLS = re.compile(r"certificate|SSL|TLS|Encryption not supported", re.IGNORECASE)
_NO_DATABASE = re.compile(r"Cannot open database|database .* does not exist", re.IGNORECASE)
_NO_RIGHT = re.compile(
    r"permission was denied|does not have permission|not able to access the database", re.IGNORECASE
)
_TRY_AGAIN = re.compile(
    r"Lock request time out|not currently available|service is currently busy|insufficient (?:system )?memory"
    r"|too many|is full due to|resource limit|recovery|shutdown|Snapshot isolation transaction aborted",
    re.IGNORECASE,
)
_KILLED = re.compile(r"kill state|session has been killed", re.IGNORECASE)


def explain(connector: DriverConnector[Any], error: Exception, limits: QueryLimits) -> ReportHubError:
    """Translate an error of mssql-python, or of the socket before it."""
    if isinstance(error, QueryStoppedError):
        return TransientError("the query was stopped")
    if isinstance(error, TimeoutError):
        return timed_out(limits)
    words = connector.plain(_PREFIX.sub("", getattr(error, "ddbc_error", "") or str(error)))
    if any(known in str(error) for known in _NOT_LOADED):
        return connector.misconfigured(
            f"Microsoft's ODBC driver cannot be loaded on this machine: {words}",
            column="db_type",
            valid="install the system's libraries libltdl7 and libgssapi-krb5-2",
        )
    if isinstance(error, OSError):
        return _not_connected(connector, error, words)
    return _said(connector, getattr(error, "driver_error", ""), words, limits)


def raise_hidden(messages: Iterable[tuple[str, str]]) -> None:
    """Raise what the driver knows but passes over: a fetch whose first rows came well is a success to it.

    Without this, a connection that breaks off in the middle would end the result as if it were whole.

    Args:
        messages: Of a cursor, `('[08S01] (10054)', text)`; those of class 01 are no errors.

    Raises:
        mssql_python.Error: There is one.
    """
    for state, words in messages:
        found = _STATE.match(state)
        if found and not found[1].startswith("01"):
            mssql_python.exceptions.raise_exception(found[1], words)


def _said(connector: DriverConnector[Any], state: str, words: str, limits: QueryLimits) -> ReportHubError:
    if _TRY_AGAIN.search(words) or state == _DEADLOCK:
        return TransientError(f"the database could not finish the query now: {words}")
    if _KILLED.search(words):
        return PermanentError(f"somebody stopped the query on the server: {words}")
    if state == _OUT_OF_TIME:
        login = TransientError(f"the database server cannot be reached: {words}")
        return login if "ogin" in words else timed_out(limits)
    if state == _NOT_REACHED:
        return _not_reached(connector, words)
    if state in _LOST:
        return TransientError(f"the connection to the database was lost: {words}")
    return _refused(connector, state, words)


def _refused(connector: DriverConnector[Any], state: str, words: str) -> ReportHubError:
    if state == _NOT_LET_IN:
        return connector.misconfigured(
            f"the server refused the login: {words}", valid="correct the user or the password"
        )
    if _NO_DATABASE.search(words):
        return connector.misconfigured(
            f"the database cannot be used: {words}", valid="correct its name, or grant this user access to it"
        )
    if _NO_RIGHT.search(words):
        return connector.misconfigured(
            f"a right is missing: {words}", valid="grant this user SELECT on what the query reads"
        )
    return refused(words)


def _not_connected(connector: DriverConnector[Any], error: Exception, words: str) -> ReportHubError:
    at_fault = row_at_fault(connector, error, words)
    return at_fault or TransientError(f"the database server cannot be reached: {words}")


def _not_reached(connector: DriverConnector[Any], words: str) -> ReportHubError:
    if any(code in words for code in _UNKNOWN_HOST):
        return connector.misconfigured(f"unknown host: {words}", valid="correct the host name")
    if _TLS.search(words):
        return connector.misconfigured(
            f"no trusted TLS connection: {words}",
            column="connection_config",
            valid="correct encrypt, trustServerCertificate, serverCertificate and hostNameInCertificate",
        )
    return TransientError(f"the database server cannot be reached: {words}")
