"""What asyncssh and the other machine say, as errors of ours: the one place where they are told apart."""

from __future__ import annotations

import asyncssh

from reporthub_dagster.destinations.remote_path import RemotePath
from reporthub_dagster.destinations.sftp_settings import SftpSettings
from reporthub_dagster.network.ssh_errors import words_of
from reporthub_dagster.reporting.errors import (
    ConfigurationError,
    ReportHubError,
    TransientError,
    UnreachableError,
)

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
        return TransientError(f"{where} hung up before the file was in place: {words_of(error)}")
    if isinstance(error, TimeoutError):
        return UnreachableError(f"{where} did not answer within {config.timeout:g} s")
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
    return TransientError(f"{where} could not take the file: {words_of(error)}")
