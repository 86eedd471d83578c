"""Samba's smbd on a free loopback port: encryption required, one user, a share of its own."""

from __future__ import annotations

import getpass
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from reporthub_dagster_tests.servers.process import binary, free_port, started, stop_with_children

HOST = "127.0.0.1"
PASSWORD = "c4nary-passw0rd"


@dataclass
class SmbServer:
    """A running smbd; `folder` is what the share `reports` shows."""

    folder: Path
    port: int
    user: str
    process: subprocess.Popen[bytes]

    def cut(self) -> None:
        """Cut every connection."""
        for child in psutil.Process(self.process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if HOST in str(child.net_connections()):
                    child.kill()


_ENCRYPTED = "server smb encrypt = required"
_OPEN = """map to guest = Bad Password
  guest account = root"""


def configuration(root: Path, port: int, access: str) -> str:
    """A smb.conf that keeps everything below `root`."""
    return f"""[global]
  smb ports = {port}
  interfaces = 127.0.0.1/8
  bind interfaces only = yes
  server min protocol = SMB3
  {access}
  disable spoolss = yes
  load printers = no
  log file = {root}/smbd.log
  lock directory = {root}/lock
  state directory = {root}/state
  cache directory = {root}/cache
  pid directory = {root}/pid
  private dir = {root}/private
  ncalrpc dir = {root}/ncalrpc
  passdb backend = tdbsam:{root}/private/passdb.tdb
[reports]
  path = {root}/reports
  read only = no
  guest ok = yes
"""


@pytest.fixture(scope="session")
def smb_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmbServer]:
    """An smbd that everybody shares: use folders of your own."""
    with _running(tmp_path_factory.mktemp("smbd"), _ENCRYPTED, PASSWORD) as server:
        yield server


@pytest.fixture
def impostor_smb_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmbServer]:
    """An smbd that does not know the password, and takes any."""
    with _running(tmp_path_factory.mktemp("impostor"), _OPEN, "another") as server:
        yield server


@contextmanager
def _running(root: Path, access: str, password: str) -> Iterator[SmbServer]:
    smbd, smbpasswd = binary("smbd"), binary("smbpasswd")
    for name in ("lock", "state", "cache", "pid", "private", "ncalrpc", "reports"):
        (root / name).mkdir()
    port, user = free_port(), getpass.getuser()
    config = root / "smb.conf"
    config.write_text(configuration(root, port, access))
    words = f"{password}\n{password}\n".encode()
    subprocess.run([smbpasswd, "-c", config, "-s", "-a", user], input=words, check=True, capture_output=True)
    process = started(
        [smbd, "-F", "--no-process-group", "--debug-stdout", "-s", config],
        root / "out.log",
        lambda: _answers(port),
        "smbd",
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # when it ends, it ends its whole process group
    )
    try:
        yield SmbServer(root / "reports", port, user, process)
    finally:
        stop_with_children(process)


def _answers(port: int) -> bool:
    with socket.create_connection((HOST, port), 1):
        return True
