"""What smbprotocol and the server say, as errors of ours: the one place where they are told apart."""

from __future__ import annotations

from smbprotocol.exceptions import (
    LogonFailure,
    SMBAuthenticationError,
    SMBOSError,
    SMBResponseException,
    SMBUnsupportedFeature,
)

from reporthub_dagster.reporting.errors import (
    ConfigurationError,
    ReportHubError,
    TransientError,
    UnreachableError,
)

_MISSING = frozenset({0xC0000034, 0xC000003A, 0xC000000F, 0xC0000103})
_FORBIDDEN = frozenset({0xC0000022, 0xC00000A2, 0xC00000CA})
_NAMES = frozenset({0xC0000033, 0xC0000039, 0xC000003B, 0xC00000BA, 0xC0000035})
_FULL = frozenset({0xC000007F, 0xC0000044, 0xC0000802})
"""NTSTATUS: nothing there, no right, a name that cannot be, no room."""
_NO_SHARE = frozenset({0xC00000CC, 0xC0000225})
_ACCOUNTS = frozenset({0xC000006D, 0xC000006A, 0xC0000064, 0xC000006E, 0xC0000072, 0xC0000071, 0xC0000234})


def translated(
    error: Exception, where: str, row: int, *, place: ConfigurationError | None = None
) -> ReportHubError:
    """Smbprotocol's exceptions as ours.

    Args:
        error: What was raised.
        where: The share, for people.
        row: The row of `report_deliveries`.
        place: An error that names where the path stands; its problem is filled in.
    """
    status = _status(error)
    stranger = _unaccepted(error, status, where, row)
    if stranger is not None:
        return stranger
    if status in _FULL:
        return TransientError(f"{where}: the disk or the quota is full")
    for statuses, problem, cure in (
        (_MISSING, "the folder does not exist", "create it, or set delivery_config.create_directory to true"),
        (_FORBIDDEN, "the user may not write there", "give that user the right, or another folder"),
        (_NAMES, "that name cannot be written there", "use another path or file name"),
    ):
        if status in statuses:
            known = place or _wrong("", "path", row, "")
            return ConfigurationError(
                f"{where}: {problem}",
                table=known.table,
                row=known.row,
                column=known.column,
                value=known.value,
                valid=cure,
            )
    words = "no answer in time" if isinstance(error, TimeoutError) else _words(error)
    if status:
        later, problem = TransientError, "does not take it now"
    else:
        later, problem = UnreachableError, "cannot be reached"
    return later(f"{where} {problem}: {words}")


def _unaccepted(error: Exception, status: int, where: str, row: int) -> ConfigurationError | None:
    """What is wrong where the two sides do not accept each other."""
    if isinstance(error, LogonFailure | SMBAuthenticationError) or status in _ACCOUNTS:
        cure = "set username, password and domain"
        return _wrong(f"{where} refused the user name or the password", "password", row, cure)
    if status in _NO_SHARE:
        return _wrong(f"{where}: there is no such share", "share", row, "correct its name")
    if "as a guest" in str(error):
        problem = f"{where} lets anybody in and knows no password, so it cannot prove who it is"
        return _wrong(problem, "username", row, "set a user that this server knows; nothing was sent")
    if isinstance(error, SMBUnsupportedFeature) or "encrypt" in str(error).lower():
        cure = "ask its operator for SMB 3; false sends in the clear"
        return _wrong(f"{where} does not encrypt", "encrypt", row, cure)
    return None


def _status(error: Exception) -> int:
    if isinstance(error, SMBOSError):
        return int(error.ntstatus)
    return int(error.status) if isinstance(error, SMBResponseException) else 0


def _wrong(problem: str, setting: str, row: int, cure: str) -> ConfigurationError:
    return ConfigurationError(
        problem, table="report_deliveries", row=row, column=f"delivery_config.{setting}", valid=cure
    )


def _words(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
