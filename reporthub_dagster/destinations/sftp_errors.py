"""What asyncssh and the other machine say, as errors of ours: the one place where they are told apart."""

from __future__ import annotations

import asyncssh

from reporthub_dagster.destinations.remote_path import RemotePath
from reporthub_dagster.destinations.sftp_settings import SftpSettings
from reporthub_dagster.reporting.errors import ConfigurationError, ReportHubError, TransientError

_GONE = (
    asyncssh.SFTPConnectionLost,
    asyncssh.SFTPNoConnection,
    asyncssh.ConnectionLost,
    asyncssh.DisconnectError,
)
_MISSING = (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath, asyncssh.SFTPNotADirectory)
_FORBIDDEN = (asyncssh.SFTPPermissionDenied, asyncssh.SFTPWriteProtect)
_FULL = (asyncssh.SFTPNoSpaceOnFilesystem, asyncssh.SFTPQuotaExceeded)
_NAMES = (asyncssh.SFTPInvalidFilename, asyncssh.SFTPFileIsADirectory, asyncssh.SFTPLinkLoop)


def connecting(error: Exception, config: SftpSettings, row: int, *, pinned: bool) -> ReportHubError:
    """A connection that did not come about, for another reason than the machine's key."""
    where = f"{config.host}:{config.port}"
    if isinstance(error, asyncssh.PermissionDenied):
        key = config.private_key is not None
        setting, what = ("private_key", "the key") if key else ("password", "the user name or the password")
        return _wrong(f"{where} refused {what}", setting, row, "set the user name and what it signs in with")
    if isinstance(error, asyncssh.KeyExchangeFailed):
        cure = "the machine has a new host key, or knows no algorithm of ours"
        return _wrong(
            f"{where} and we have no algorithm in common", "host_key" if pinned else "host", row, cure
        )
    if isinstance(error, asyncssh.ChannelOpenError | asyncssh.SFTPError):
        return _wrong(f"{where} offers no SFTP to {config.username}", "username", row, "ask its operator")
    silent = isinstance(error, TimeoutError | asyncssh.TimeoutError)
    why = f"it did not answer within {config.timeout:g} s" if silent else _words(error)
    return TransientError(f"{where} cannot be reached: {why}")


def working(
    error: Exception, place: RemotePath, config: SftpSettings, *, free: int | None, needed: int
) -> ReportHubError:
    """A file that could not be put there.

    Args:
        error: asyncssh's, or the socket's.
        place: Where it should have gone.
        config: The row's settings.
        free: Bytes that the disk there has left, where that is known.
        needed: Bytes of the file.
    """
    where = f"{config.host}:{config.port}"
    if isinstance(error, _GONE):
        return TransientError(f"{where} hung up before the file was in place: {_words(error)}")
    if isinstance(error, TimeoutError):
        return TransientError(f"{where} did not answer within {config.timeout:g} s")
    if isinstance(error, _FULL) or (
        isinstance(error, asyncssh.SFTPFailure) and free is not None and free < needed
    ):
        return TransientError(f"the disk or the quota of {where} is full")
    for kinds, problem, cure in (
        (_MISSING, "the folder does not exist", "create it, or set delivery_config.create_directory to true"),
        (_FORBIDDEN, f"{config.username} may not write there", "give that user the right, or another folder"),
        (_NAMES, "that name cannot be written there", "use another path or file name"),
    ):
        if isinstance(error, kinds):
            return ConfigurationError(
                f"{where}: {problem}",
                table=place.table,
                row=place.row,
                column=place.column,
                value=place.template or ".",
                valid=cure,
            )
    return TransientError(f"{where} could not take the file: {_words(error)}")


def unknown_key(key: asyncssh.SSHKey, config: SftpSettings, row: int) -> ConfigurationError:
    """Nobody has said by which key the machine is recognised."""
    return _wrong(
        f"the host key of {config.host}:{config.port} is unknown",
        "host_key",
        row,
        f"if the machine's operator confirms {key.get_fingerprint()}, set it",
    )


def changed_key(key: asyncssh.SSHKey, config: SftpSettings, row: int, *, given: bool) -> ConfigurationError:
    """The machine shows another key than the one by which it was recognised."""
    cure = (
        "set the new key there"
        if given or config.fingerprint
        else "set it there, or delete the row of this host and port from reporthub_host_keys"
    )
    return _wrong(
        f"{config.host}:{config.port} shows another host key than before, {key.get_fingerprint()}: "
        "it may be another machine, and nothing was sent",
        "host_key",
        row,
        f"if its operator confirms the new key, {cure}",
    )


def _wrong(problem: str, setting: str, row: int, cure: str) -> ConfigurationError:
    return ConfigurationError(
        problem, table="report_deliveries", row=row, column=f"delivery_config.{setting}", valid=cure
    )


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
