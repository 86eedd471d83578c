"""`delivery_config` of SFTP deliveries: where, as whom, and how the other machine is recognised."""

from __future__ import annotations

from pathlib import Path

import asyncssh
from pydantic import AliasChoices, Field

from reporthub_dagster.destinations.row_settings import RowSettings, Secret
from reporthub_dagster.reporting.errors import ConfigurationError

_FINGERPRINT = "SHA256:"


class SftpSettings(RowSettings):
    """Every key of an SFTP row.

    Attributes:
        private_key: The key's text (OpenSSH, PEM), or the path of its file; RSA, ECDSA, Ed25519.
        remote_path: A folder, or a file: see `RemotePath`. What stands before its first variable must exist
            unless `create_directory`; relative paths begin where the user is after signing in.
        host_key: `ssh-ed25519 AAAA…` or `SHA256:…`.
        known_hosts: Lines of a known_hosts file, or its path.
        timeout: Seconds for connecting and for each answer.
    """

    host: str = ""
    port: int = Field(22, ge=1, le=65535)
    username: str = ""
    password: Secret | None = None
    private_key: Secret | None = None
    passphrase: Secret | None = Field(
        None, validation_alias=AliasChoices("passphrase", "private_key_passphrase")
    )
    remote_path: str = ""
    create_directory: bool = False
    timeout: float = Field(30, gt=0, le=3600)
    host_key: str | None = None
    known_hosts: str | None = None

    @property
    def fingerprint(self) -> str | None:
        """`host_key`, where it is one."""
        return self.host_key.strip() if self.host_key and self.host_key.startswith(_FINGERPRINT) else None


def client_key(settings: SftpSettings, row: int) -> asyncssh.SSHKey | None:
    """The private key, ready to use.

    Raises:
        ConfigurationError: It cannot be read.
    """
    if settings.private_key is None:
        return None
    text = settings.private_key.get_secret_value()
    passphrase = settings.passphrase.get_secret_value() if settings.passphrase else None
    try:
        if "\n" not in text.strip() and "-----" not in text:
            return asyncssh.read_private_key(text.strip(), passphrase)
        return asyncssh.import_private_key(text, passphrase)
    except asyncssh.KeyEncryptionError:
        raise _wrong("the passphrase of the key is wrong", "passphrase", row, "set it") from None
    except asyncssh.KeyImportError as error:
        locked = any(word in str(error).lower() for word in ("passphrase", "decrypt"))
        what = "passphrase" if locked else "private_key"
        raise _wrong(f"the key cannot be used: {error}", what, row, "give an OpenSSH or PEM key") from None
    except OSError as error:
        raise _wrong(
            f"the file of the key cannot be read: {error.strerror}",
            "private_key",
            row,
            "give its path or text",
        ) from None


def given_keys(settings: SftpSettings, row: int) -> list[asyncssh.SSHKey] | None:
    """The keys by which a person says the machine is known; None where the row says nothing of the kind.

    Raises:
        ConfigurationError: They cannot be read, or none of them is for this machine.
    """
    if settings.host_key and not settings.fingerprint:
        try:
            return [asyncssh.import_public_key(settings.host_key.strip())]
        except asyncssh.KeyImportError:
            raise _wrong("not a host key", "host_key", row, "give ssh-ed25519 AAAA… or SHA256:…") from None
    if not settings.known_hosts:
        return None
    try:
        text = settings.known_hosts
        if " " not in text.strip():
            text = Path(text.strip()).read_text(encoding="utf-8")
        found = list(asyncssh.import_known_hosts(text).match(settings.host, "", settings.port)[0])
    except (OSError, ValueError) as error:
        raise _wrong(
            f"it cannot be read: {error}", "known_hosts", row, "give its lines or its path"
        ) from None
    if not found:
        raise _wrong("it does not name the host", "known_hosts", row, "add the line of ssh-keyscan")
    return found


def _wrong(problem: str, setting: str, row: int, cure: str) -> ConfigurationError:
    return ConfigurationError(
        problem, table="report_deliveries", row=row, column=f"delivery_config.{setting}", valid=cure
    )
