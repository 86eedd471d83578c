"""What `connection_config` says about files."""

from __future__ import annotations

from pydantic import Field, SecretStr

from reporthub_dagster.connectors.file_formats import FileFormat
from reporthub_dagster.connectors.http_settings import Auth
from reporthub_dagster.connectors.sql import SQLOptions


class FileOptions(SQLOptions):
    """`connection_config` of files.

    Attributes:
        format: Where the file's name does not say it.
        columns: Column → type, where the values shall not decide.
        delimiter: Of csv; with `quote` and `encoding`.
        sheet: Of a workbook; the first one if not said.
        rows: Where in a JSON document the rows are, `data.items`.
        headers: Of HTTP; with `auth`.
        private_key: Of SFTP, with `passphrase`; or `password`. The user is in the address.
        host_key: By which an SFTP server is recognised; or `known_hosts`.
        access_key: Of S3; with `secret_key`, `session_token`, `region` and `endpoint_url`.
    """

    format: FileFormat | None = None
    columns: dict[str, str] = Field(default_factory=dict)
    delimiter: str = Field("", max_length=1)
    quote: str = Field('"', min_length=1, max_length=1)
    encoding: str = "utf-8"
    sheet: str = ""
    rows: str = ""
    headers: dict[str, SecretStr] = Field(default_factory=dict)
    auth: Auth | None = None
    password: SecretStr | None = None
    private_key: SecretStr | None = None
    passphrase: SecretStr | None = None
    host_key: str | None = None
    known_hosts: str | None = None
    tls_ca_file: str | None = None
    region: str | None = None
    endpoint_url: str | None = None
    access_key: SecretStr | None = None
    secret_key: SecretStr | None = None
    session_token: SecretStr | None = None
