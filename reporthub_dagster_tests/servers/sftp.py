"""OpenSSH's sshd on a free loopback port, for the user of the tests, with keys of its own."""

from __future__ import annotations

import os
import pwd
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import asyncssh
import psutil
import pytest

from reporthub_dagster.reporting.host_keys import HostKeys
from reporthub_dagster_tests.servers.process import binary, free_port, started, stop_with_children

HOST = "127.0.0.1"


class RememberedHostKeys(HostKeys):
    """Host keys for the length of a test."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, int], str] = {}

    def find(self, host: str, port: int) -> str | None:
        return self.kept.get((host, port))

    def pin(self, host: str, port: int, key: str, now: datetime) -> str:
        return self.kept.setdefault((host, port), key)


@dataclass
class SftpServer:
    """A running sshd that takes one key."""

    folder: Path
    port: int
    host_key: asyncssh.SSHKey
    client_key: asyncssh.SSHKey
    process: subprocess.Popen[bytes]

    @property
    def user(self) -> str:
        return pwd.getpwuid(os.getuid()).pw_name

    def children(self) -> list[psutil.Process]:
        """The processes that serve connections."""
        return list(psutil.Process(self.process.pid).children(recursive=True))

    def cut(self) -> None:
        """Cut every connection."""
        for child in self.children():
            with suppress(psutil.NoSuchProcess):
                child.send_signal(signal.SIGKILL)


@contextmanager
def running_sftp_server(folder: Path, client_key: asyncssh.SSHKey, port: int = 0) -> Iterator[SftpServer]:
    """Start sshd in `folder`, end it with the block; a new one has a new host key."""
    sshd = binary("sshd")
    Path("/run/sshd").mkdir(parents=True, exist_ok=True)
    folder.mkdir(parents=True)
    host_key = asyncssh.generate_private_key("ssh-ed25519")
    key_file = folder / "host_key"
    key_file.write_bytes(host_key.export_private_key())
    key_file.chmod(0o600)
    (folder / "authorized").write_bytes(client_key.export_public_key())
    port = port or free_port()
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress {HOST}\nHostKey {key_file}\nAuthorizedKeysFile {folder}/authorized\n"
        "StrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\nPidFile none\n"
        "Subsystem sftp internal-sftp\nMaxStartups 100\n"
    )
    command = [sshd, "-D", "-e", "-f", str(folder / "sshd_config")]
    process = started(command, folder / "sshd.log", lambda: _answers(port), "sshd")
    try:
        yield SftpServer(folder, port, host_key, client_key, process)
    finally:
        stop_with_children(process)


def _answers(port: int) -> bool:
    with socket.create_connection((HOST, port), 1) as probe:
        return probe.recv(3) == b"SSH"


@pytest.fixture(scope="session")
def sftp_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SftpServer]:
    """An sshd that everybody shares: use folders of your own."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    with running_sftp_server(tmp_path_factory.mktemp("sshd") / "d", key) as server:
        yield server


@pytest.fixture
def start_sftp_server(tmp_path: Path) -> Iterator[Callable[..., SftpServer]]:
    """Starts further ones; all end with the test."""
    with ExitStack() as running:

        def start(key: asyncssh.SSHKey, port: int = 0, name: str = "sshd") -> SftpServer:
            return running.enter_context(running_sftp_server(tmp_path / name, key, port))

        yield start
