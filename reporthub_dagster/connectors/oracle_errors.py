"""What the error codes of Oracle, and of its driver, mean for a report.

ORA codes are of the Database Error Messages reference, DPY codes of python-oracledb's errors.
"""

from __future__ import annotations

from typing import Any

import oracledb

from reporthub_dagster.connectors.base import QueryLimits, refused, timed_out
from reporthub_dagster.connectors.connection_errors import cause_of, row_at_fault
from reporthub_dagster.connectors.patience import QueryStoppedError
from reporthub_dagster.connectors.sql import DriverConnector
from reporthub_dagster.reporting.errors import PermanentError, ReportHubError, TransientError

_OUT_OF_TIME = {"DPY-4024"}
_STOPPED = {28, 1013, 2396}
"""By number: to the driver a killed session is a lost connection."""
_NOT_LET_IN = {
    *("ORA-01005", "ORA-01017", "ORA-01045", "ORA-28000", "ORA-28001", "ORA-28009"),
    *("DPY-3015", "DPY-3016", "DPY-4001"),
}
_NO_DATABASE = {"ORA-12504", "ORA-12505", "ORA-12514", "ORA-12521", "DPY-6001", "DPY-6003"}
_NO_NAME = {"DPY-4000", "DPY-4026", "DPY-4027", "DPY-4017", "DPY-4018", "DPY-4022"}
_NO_WALLET = {"DPY-2018", "DPY-6006", "DPY-3010"}
_NO_RIGHT = {"ORA-01031", "ORA-41900", "ORA-41901"}
_TRY_AGAIN = {
    *("ORA-00018", "ORA-00020", "ORA-00060", "ORA-01555", "ORA-01652", "ORA-04030", "ORA-04031"),
    *("ORA-04068", "ORA-08176", "ORA-12516", "ORA-12518", "ORA-12519", "ORA-12520", "ORA-30006"),
}
_NOT_REACHED = {
    *("DPY-6000", "DPY-6005", "ORA-01033", "ORA-01034", "ORA-01089", "ORA-01109", "ORA-12528", "ORA-12541"),
}
_LOST = {
    *("DPY-1001", "DPY-4011", "ORA-01012", "ORA-01090", "ORA-01092", "ORA-03113", "ORA-03114", "ORA-03135"),
    *("ORA-12537", "ORA-12547", "ORA-12570"),
}


def explain(  # noqa: PLR0911 - a line a family of codes
    connector: DriverConnector[Any], error: Exception, limits: QueryLimits
) -> ReportHubError:
    """Translate an error of python-oracledb or of the socket below it."""
    if isinstance(error, QueryStoppedError):
        return TransientError("the query was stopped")
    words = connector.plain(_words(error))
    if isinstance(error, OSError):
        at_fault = row_at_fault(connector, error, words)
        return at_fault or TransientError(f"the database server cannot be reached: {words}")
    if not isinstance(error, oracledb.Error):
        return PermanentError(f"a value cannot be read or sent: {words}")
    code = code_of(error)
    if code in _OUT_OF_TIME:
        return timed_out(limits)
    if getattr(error.args[0], "code", 0) in _STOPPED:
        return PermanentError(f"somebody stopped the query on the server: {words}")
    if code in _NOT_REACHED | _LOST:
        return _not_connected(connector, error, code, words)
    if code in _TRY_AGAIN:
        return TransientError(f"the database could not finish the query now: {words}")
    return _refused(connector, code, words)


def code_of(error: Exception) -> str:
    """`ORA-00942`, `DPY-6005`; empty for an error without a code."""
    told = error.args[0] if error.args else None
    return str(getattr(told, "full_code", "") or "")


def _not_connected(
    connector: DriverConnector[Any], error: Exception, code: str, words: str
) -> ReportHubError:
    if code in _LOST:
        return TransientError(f"the connection to the database was lost: {words}")
    cause = error.__cause__
    if isinstance(cause, oracledb.Error) and code_of(cause) in _NO_WALLET | _NO_DATABASE:
        return _refused(connector, code_of(cause), words)
    at_fault = row_at_fault(connector, cause_of(error), words)
    return at_fault or TransientError(f"the database server cannot be reached: {words}")


def _refused(connector: DriverConnector[Any], code: str, words: str) -> ReportHubError:
    if code in _NOT_LET_IN:
        return connector.misconfigured(
            f"the server refused the login: {words}", valid="correct the user or the password"
        )
    if code in _NO_DATABASE:
        return connector.misconfigured(
            f"the listener does not know the database: {words}",
            valid="correct its name: a path of the URL is a SID, ?service_name= a service",
        )
    if code in _NO_NAME:
        return connector.misconfigured(
            f"the name cannot be resolved: {words}",
            valid="correct it, or name the folder of tnsnames.ora in connection_config.config_dir",
        )
    if code in _NO_WALLET:
        return connector.misconfigured(
            f"the wallet cannot be used: {words}",
            column="connection_config",
            valid="correct wallet_location, the folder of ewallet.pem, and wallet_password",
        )
    if code in _NO_RIGHT:
        return connector.misconfigured(
            f"a right is missing: {words}", valid="grant this user SELECT on what the query reads"
        )
    return refused(words)


def _words(error: Exception) -> str:
    """The message without the link to help that the driver adds."""
    return str(error).partition("\nHelp: ")[0]
