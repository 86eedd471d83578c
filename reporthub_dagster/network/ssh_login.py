"""How a machine is signed in to over SSH, and how it is recognised."""

from __future__ import annotations

from dataclasses import dataclass, field

import asyncssh

from reporthub_dagster.network.small_file import small_file
from reporthub_dagster.reporting.errors import ConfigurationError

_FINGERPRINT = "SHA256:"


@dataclass(frozen=True, slots=True)
class SshLogin:
    """What a row says about signing in.

    Attributes:
        private_key: The key's text (OpenSSH, PEM), or the path of its file.
        host_key: `ssh-ed25519 AAAA…` or `SHA256:…`.
        known_hosts: Lines of a known_hosts file, or its path.
        timeout: Seconds for connecting and for each answer.
        table: Of the row, for messages; with `row`, and the column that holds the settings.
    """

    host: str
    port: int
    username: str
    password: str | None = field(repr=False)
    private_key: str | None = field(repr=False)
    passphrase: str | None = field(repr=False)
    host_key: str | None
    known_hosts: str | None
    timeout: float
    table: str
    row: int
    column: str

    @property
    def fingerprint(self) -> str | None:
        """`host_key`, where it is one."""
        return self.host_key.strip() if self.host_key and self.host_key.startswith(_FINGERPRINT) else None

    def wrong(self, problem: str, setting: str, cure: str) -> ConfigurationError:
        """An error that says which setting of the row a person must change."""
        return ConfigurationError(
            problem, table=self.table, row=self.row, column=f"{self.column}.{setting}", valid=cure
        )


def client_key(login: SshLogin) -> asyncssh.SSHKey | None:
    """The private key, ready to use.

    Raises:
        ConfigurationError: It cannot be read.
    """
    if login.private_key is None:
        return None
    text = login.private_key
    try:
        if "\n" not in text.strip() and "-----" not in text:
            return asyncssh.import_private_key(small_file(text.strip()), login.passphrase)
        return asyncssh.import_private_key(text, login.passphrase)
    except asyncssh.KeyEncryptionError:
        raise login.wrong("the passphrase of the key is wrong", "passphrase", "set it") from None
    except asyncssh.KeyImportError as error:
        locked = any(word in str(error).lower() for word in ("passphrase", "decrypt"))
        what = "passphrase" if locked else "private_key"
        raise login.wrong(f"the key cannot be used: {error}", what, "give an OpenSSH or PEM key") from None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "this is no path"
        raise login.wrong(
            f"the file of the key cannot be read: {why}",
            "private_key",
            "give its path or text",
        ) from None


def given_keys(login: SshLogin) -> list[asyncssh.SSHKey] | None:
    """The keys by which a person says the machine is known; None where the row says nothing of the kind.

    Raises:
        ConfigurationError: They cannot be read, or none of them is for this machine.
    """
    if login.host_key and not login.fingerprint:
        try:
            return [asyncssh.import_public_key(login.host_key.strip())]
        except asyncssh.KeyImportError:
            raise login.wrong("not a host key", "host_key", "give ssh-ed25519 AAAA… or SHA256:…") from None
    if not login.known_hosts:
        return None
    try:
        text = login.known_hosts
        if " " not in text.strip():
            text = small_file(text.strip()).decode()
        found = list(asyncssh.import_known_hosts(text).match(login.host, "", login.port)[0])
    except (OSError, ValueError) as error:
        # asyncssh quotes the line, and the file may be any that this process can read.
        why = error.strerror if isinstance(error, OSError) else "a line is none of known_hosts"
        raise login.wrong(f"it cannot be read: {why}", "known_hosts", "give its lines or its path") from None
    if not found:
        raise login.wrong("it does not name the host", "known_hosts", "add the line of ssh-keyscan")
    return found
