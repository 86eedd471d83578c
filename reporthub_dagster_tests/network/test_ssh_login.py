"""Keys and known hosts that a row names by a path, which may be any path."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from reporthub_dagster.network.small_file import small_file
from reporthub_dagster.network.ssh_login import SshLogin, client_key, given_keys
from reporthub_dagster.reporting.errors import ConfigurationError

LOGIN = SshLogin(
    host="h",
    port=22,
    username="u",
    password=None,
    private_key=None,
    passphrase=None,
    host_key=None,
    known_hosts=None,
    timeout=1.0,
    table="report_datasources",
    row=7,
    column="connection_config",
)


def test_an_error_quotes_nothing_of_a_file_that_is_something_else(tmp_path: Path) -> None:
    other = tmp_path / ".env"
    other.write_text("DB_PASSWORD=geheim\n")

    with pytest.raises(ConfigurationError, match="known_hosts: it cannot be read: a line is none") as hosts:
        given_keys(replace(LOGIN, known_hosts=str(other)))
    with pytest.raises(ConfigurationError, match="private_key: the key cannot be used") as key:
        client_key(replace(LOGIN, private_key=str(other)))

    assert "geheim" not in f"{hosts.value} {key.value}"


def test_what_has_no_end_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(bytes(1_000_001))

    for path in ("/dev/zero", str(tmp_path / "pipe"), str(tmp_path / "large")):
        with pytest.raises(OSError, match="it is no small file"):
            small_file(path)
        with pytest.raises(ConfigurationError, match="it is no small file"):
            given_keys(replace(LOGIN, known_hosts=path))
        with pytest.raises(ConfigurationError, match="it is no small file"):
            client_key(replace(LOGIN, private_key=path))
