"""Messages and tokens of TDS 7.4 ([MS-TDS]) as a server reads and writes them, for the tests' stand-in."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from reporthub_dagster_tests.servers.tds_types import COLLATION, TDSType, read_value

BATCH, RPC, ANSWER, ATTENTION, TRANSACTION, LOGIN, PRELOGIN = 1, 3, 4, 6, 14, 16, 18
MORE, ERROR, COUNT, ATTENTION_DONE = 0x01, 0x02, 0x10, 0x20
PROCEDURES = {10: "sp_executesql", 12: "sp_execute", 13: "sp_prepexec", 15: "sp_unprepare"}
_PACKET = 4096
_HEADER = struct.Struct(">BBHHBB")
_DONE, _DONE_PROC, _DONE_IN_PROC = 0xFD, 0xFE, 0xFF


@dataclass(frozen=True)
class Login:
    """Who wants to be let in, and where."""

    version: bytes
    user: str
    password: str
    database: str
    read_only: bool


@dataclass(frozen=True)
class Call:
    """A call of a procedure: its values in order."""

    name: str
    values: list[Any]


def receive(peer: socket.socket) -> tuple[int, bytes]:
    """One message: its kind and its bytes.

    Raises:
        ConnectionError: The peer has gone away.
    """
    whole = b""
    while True:
        kind, status, length, *_ = _HEADER.unpack(_exactly(peer, _HEADER.size))
        whole += _exactly(peer, length - _HEADER.size)
        if status & 1:
            return kind, whole


def send(peer: socket.socket, data: bytes, *, last: bool = True) -> None:
    """An answer, or with `last` false a part of one."""
    room = _PACKET - _HEADER.size
    pieces = [data[start : start + room] for start in range(0, len(data), room)] or [b""]
    framed = bytearray()
    for number, piece in enumerate(pieces, start=1):
        ends = last and number == len(pieces)
        framed += _HEADER.pack(ANSWER, int(ends), len(piece) + _HEADER.size, 0, number & 0xFF, 0) + piece
    peer.sendall(framed)


def prelogin(*, encrypted: bool = False) -> bytes:
    """The answer to a PRELOGIN: version 16, TLS or none, no MARS."""
    options = [(0, b"\x10\x00\x10\x00\x00\x00"), (1, b"\x01" if encrypted else b"\x02"), (2, b"\0"), (3, b"")]
    options.append((4, b"\0"))
    at = 5 * len(options) + 1
    heads = values = b""
    for token, value in options:
        heads += struct.pack(">BHH", token, at + len(values), len(value))
        values += value
    return heads + b"\xff" + values


def read_login(data: bytes) -> Login:
    """LOGIN7; passwords are obfuscated, not encrypted."""

    def field(number: int) -> bytes:
        offset, length = struct.unpack_from("<HH", data, 36 + 4 * number)
        return data[offset : offset + 2 * length]

    password = bytes((((one ^ 0xA5) << 4) | ((one ^ 0xA5) >> 4)) & 0xFF for one in field(2))
    user, secret, database = (part.decode("utf-16le") for part in (field(1), password, field(8)))
    return Login(data[4:8][::-1], user, secret, database, bool(data[26] & 0x20))


def let_in(login: Login) -> bytes:
    """What a successful login is answered."""
    acknowledged = b"\x01" + login.version + b_varchar("Microsoft SQL Server") + b"\x10\0\0\0"
    collation = b"\x07\x05" + COLLATION + b"\0"
    size = str(_PACKET)
    return b"".join(
        (
            _token(0xE3, b"\x01" + b_varchar(login.database) + b_varchar("master")),
            _token(0xE3, collation),
            _token(0xAD, acknowledged),
            _token(0xE3, b"\x04" + b_varchar(size) + b_varchar(size)),
            done(),
        )
    )


def read_batch(data: bytes) -> str:
    """The text of a SQL batch."""
    (headers,) = struct.unpack_from("<I", data)
    return data[headers:].decode("utf-16le")


def read_call(data: bytes) -> Call:
    """The procedure and the values of an RPC."""
    (at,) = struct.unpack_from("<I", data)
    (length,) = struct.unpack_from("<H", data, at)
    at += 2
    if length == 0xFFFF:
        name = PROCEDURES.get(struct.unpack_from("<H", data, at)[0], "")
        at += 2
    else:
        name = data[at : at + 2 * length].decode("utf-16le").lower().rpartition(".")[2]
        at += 2 * length
    at += 2
    values = []
    while at < len(data):
        at += 1 + 2 * data[at] + 1
        value, at = read_value(data, at)
        values.append(value)
    return Call(name, values)


def transaction(data: bytes) -> tuple[str, bytes]:
    """What a transaction manager request wants, and its answer."""
    (at,) = struct.unpack_from("<I", data)
    request = struct.unpack_from("<H", data, at)[0]
    identity = b"\x08" + b"\x01" + b"\0" * 7
    words = {5: ("BEGIN", b"\x08" + identity + b"\0"), 7: ("COMMIT", b"\x09\0" + identity)}
    word, change = words.get(request, ("ROLLBACK", b"\x0a\0" + identity))
    return word, _token(0xE3, change)


def described(columns: Sequence[tuple[str, TDSType]]) -> bytes:
    """COLMETADATA."""
    parts = [struct.pack("<IH", 0, 1) + kind.info + b_varchar(name) for name, kind in columns]
    return b"\x81" + struct.pack("<H", len(columns)) + b"".join(parts)


def rows(columns: Sequence[tuple[str, TDSType]], values: Iterable[Sequence[Any]]) -> bytes:
    """A ROW for each."""
    kinds = [kind for _, kind in columns]
    return b"".join(
        b"\xd1" + b"".join(kind.encoded(value) for kind, value in zip(kinds, row, strict=True))
        for row in values
    )


def done(status: int = 0, count: int = 0) -> bytes:
    """DONE."""
    return struct.pack("<BHHQ", _DONE, status, 0xC1, count)


def done_call(count: int = 0, *, handle: int = 0) -> bytes:
    """The end of a procedure: its rows, its return status, the handle of what it prepared."""
    handed = b""
    if handle:
        handed = b"\xac" + struct.pack("<H", 0) + b_varchar("") + b"\x01" + struct.pack("<IH", 0, 0)
        handed += b"\x26\x04\x04" + struct.pack("<i", handle)
    return b"".join(
        (
            struct.pack("<BHHQ", _DONE_IN_PROC, MORE | COUNT, 0xC1, count),
            b"\x79" + struct.pack("<i", 0),
            handed,
            struct.pack("<BHHQ", _DONE_PROC, 0, 0xE0, 0),
        )
    )


def error(number: int, words: str, severity: int = 16) -> bytes:
    """ERROR, and the DONE behind it."""
    text = struct.pack("<H", len(words)) + words.encode("utf-16le")
    body = struct.pack("<iBB", number, 1, severity) + text + b_varchar("standin") + b_varchar("")
    return _token(0xAA, body + struct.pack("<I", 1)) + done(ERROR)


def b_varchar(text: str) -> bytes:
    """A text of at most 255 characters."""
    return bytes((len(text),)) + text.encode("utf-16le")


def _token(kind: int, body: bytes) -> bytes:
    return struct.pack("<BH", kind, len(body)) + body


def _exactly(peer: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = peer.recv(size - len(data))
        if not piece:
            raise ConnectionError
        data += piece
    return data
