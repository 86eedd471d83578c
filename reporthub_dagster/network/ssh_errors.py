"""What asyncssh says of a connection that does not come about, as errors of ours."""

from __future__ import annotations

import asyncssh

from reporthub_dagster.network.ssh_login import SshLogin
from reporthub_dagster.reporting.errors import ConfigurationError, ReportHubError, UnreachableError


def connecting(error: Exception, login: SshLogin, *, pinned: bool) -> ReportHubError:
    """A connection that did not come about, for another reason than the machine's key."""
    where = f"{login.host}:{login.port}"
    if isinstance(error, asyncssh.PermissionDenied):
        key = login.private_key is not None
        setting, what = ("private_key", "the key") if key else ("password", "the user name or the password")
        return login.wrong(f"{where} refused {what}", setting, "set the user name and what it signs in with")
    if isinstance(error, asyncssh.KeyExchangeFailed):
        cure = "the machine has a new host key, or knows no algorithm of ours"
        return login.wrong(
            f"{where} and we have no algorithm in common", "host_key" if pinned else "host", cure
        )
    if isinstance(error, asyncssh.ChannelOpenError | asyncssh.SFTPError):
        return login.wrong(f"{where} offers no SFTP to {login.username}", "username", "ask its operator")
    silent = isinstance(error, TimeoutError | asyncssh.TimeoutError)
    why = f"it did not answer within {login.timeout:g} s" if silent else words_of(error)
    return UnreachableError(f"{where} cannot be reached: {why}")


def unknown_key(key: asyncssh.SSHKey, login: SshLogin) -> ConfigurationError:
    """Nobody has said by which key the machine is recognised."""
    return login.wrong(
        f"the host key of {login.host}:{login.port} is unknown",
        "host_key",
        f"if the machine's operator confirms {key.get_fingerprint()}, set it",
    )


def changed_key(key: asyncssh.SSHKey, login: SshLogin, *, given: bool) -> ConfigurationError:
    """The machine shows another key than the one by which it was recognised."""
    cure = (
        "set the new key there"
        if given or login.fingerprint
        else "set it there, or delete the row of this host and port from reporthub_host_keys"
    )
    return login.wrong(
        f"{login.host}:{login.port} shows another host key than before, {key.get_fingerprint()}: "
        "it may be another machine, and nothing was sent",
        "host_key",
        f"if its operator confirms the new key, {cure}",
    )


def words_of(error: Exception) -> str:
    """What an error says."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
