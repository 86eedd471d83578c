"""`delivery_config` of SFTP deliveries: where, as whom, and how the other machine is recognised."""

from __future__ import annotations

from pydantic import AliasChoices, Field

from reporthub_dagster.destinations.row_settings import RowSettings, Secret
from reporthub_dagster.network.ssh_login import SshLogin
from reporthub_dagster.reporting.redaction import revealed


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

    def login(self, row: int) -> SshLogin:
        """What it says about signing in.

        Args:
            row: Of `report_deliveries`, for messages.
        """
        return SshLogin(
            host=self.host,
            port=self.port,
            username=self.username,
            password=revealed(self.password),
            private_key=revealed(self.private_key),
            passphrase=revealed(self.passphrase),
            host_key=self.host_key,
            known_hosts=self.known_hosts,
            timeout=self.timeout,
            table="report_deliveries",
            row=row,
            column="delivery_config",
        )
