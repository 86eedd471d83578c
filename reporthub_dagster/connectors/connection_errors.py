"""What an error of the socket or of TLS below a driver means, where a row or a file of its is wrong."""

from __future__ import annotations

import socket
import ssl
from typing import Any

from reporthub_dagster.connectors.sql import DriverConnector
from reporthub_dagster.reporting.errors import ConfigurationError


def cause_of(error: Exception) -> Exception:
    """What the socket said below an error that wraps it; the error itself where nothing did."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, (socket.gaierror, ssl.SSLError)):
            return cause
        cause = cause.__cause__ or cause.__context__
    return error


def row_at_fault(connector: DriverConnector[Any], cause: Exception, words: str) -> ConfigurationError | None:
    """The error that names what to correct in the data source's row; None where a later try may do.

    Args:
        connector: Of the row.
        cause: What the socket said.
        words: The same for people, redacted.
    """
    if isinstance(cause, socket.gaierror) and cause.errno != socket.EAI_AGAIN:
        return connector.misconfigured(f"unknown host: {words}", valid="correct the host name")
    if isinstance(cause, ssl.SSLError):
        return connector.misconfigured(
            f"no trusted TLS connection: {words}",
            column="connection_config",
            valid="correct ssl_ca, ssl_cert and ssl_key, or set ssl_check_hostname to false when the "
            "certificate names another host",
        )
    if isinstance(cause, (FileNotFoundError, PermissionError)):
        return connector.misconfigured(
            f"a file cannot be read: {words}", column="connection_config", valid="correct its path"
        )
    return None
