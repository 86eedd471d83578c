"""How a runner on the other side of a socket is spoken to.

The runner listens on a Unix socket or on TCP; a connection is one script. Everything is a frame: its length,
eight bytes, the highest first, then that many bytes.

| who | frames |
|---|---|
| ReportHub | a JSON object: `version` 1 and the fields of `protocol.Job`; each input, an Arrow IPC file |
| runner | a JSON object: `late`, `status`, `printed`, `outcome`: the fields of `protocol.Outcome`, or null |
| runner | the results, Arrow IPC streams one after the other; empty unless the outcome is `done` |

An error of the runner itself is an object with `problem` alone. Whoever closes the connection early ends the
script. There is no password: who reaches the socket may run scripts, so that only ReportHub should.
"""

from __future__ import annotations

import socket
import struct
from typing import BinaryIO, Final, Protocol

from reporthub_dagster.reporting.errors import ConfigurationError

VERSION: Final = 1
SETTING = "REPORTHUB_SCRIPT_RUNNER"
_LENGTH = struct.Struct(">Q")
_PIECE = 1 << 20


class Readable(Protocol):
    """What frames are read from."""

    def read(self, size: int, /) -> bytes:
        """As many bytes, or fewer at the end."""


class BrokenFrameError(Exception):
    """The other side ended in the middle, or said more than it may."""


def address_of(text: str) -> tuple[socket.AddressFamily, str | tuple[str, int]]:
    """Where a runner listens: `unix:/run/scripts.sock` or `tcp:host:port`.

    Raises:
        ConfigurationError: It is neither.
    """
    kind, _, rest = text.partition(":")
    if kind == "unix" and rest.startswith("/"):
        return socket.AF_UNIX, rest
    host, _, port = rest.rpartition(":")
    if kind == "tcp" and host and port.isdecimal() and 0 < int(port) < 65_536:  # noqa: PLR2004 - ports end there
        return socket.AF_INET, (host, int(port))
    raise ConfigurationError(
        "not the address of a runner", column=SETTING, value=text, valid="unix:/path or tcp:host:port"
    )


def send(connection: socket.socket, content: bytes) -> None:
    """A frame of bytes."""
    connection.sendall(_LENGTH.pack(len(content)) + content)


def send_file(connection: socket.socket, file: BinaryIO, size: int) -> None:
    """A frame of a file's bytes from where it stands."""
    connection.sendall(_LENGTH.pack(size))
    while size:
        piece = file.read(min(size, _PIECE))
        if not piece:
            raise BrokenFrameError("the file is shorter than it was")
        connection.sendall(piece)
        size -= len(piece)


def receive(connection: Readable, most: int) -> bytes:
    """A frame as bytes.

    Raises:
        BrokenFrameError: It is longer than `most`, or ends early.
    """
    size = _length(connection, most)
    content = connection.read(size)
    if len(content) < size:
        raise BrokenFrameError("it ended early")
    return content


def receive_file(connection: Readable, target: BinaryIO, most: int) -> None:
    """A frame into a file.

    Raises:
        BrokenFrameError: As `receive`.
    """
    size = _length(connection, most)
    while size:
        piece = connection.read(min(size, _PIECE))
        if not piece:
            raise BrokenFrameError("it ended early")
        target.write(piece)
        size -= len(piece)
    target.flush()


def _length(connection: Readable, most: int) -> int:
    head = connection.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise BrokenFrameError("it ended early")
    size = int(_LENGTH.unpack(head)[0])
    if size > most:
        raise BrokenFrameError(f"a frame of {size:,} bytes")
    return size
