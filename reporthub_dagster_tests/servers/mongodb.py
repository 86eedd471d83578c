"""MongoDB for tests: the emulator secantusdb, behind a front that can also stream, stall and break off."""

from __future__ import annotations

import os
import select
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

import bson
import pymongo
import pytest

from reporthub_dagster_tests.servers.mariadb import PASSWORD
from reporthub_dagster_tests.servers.process import (
    PrivateServer,
    binary,
    free_port,
    private,
    started,
    stop,
)

USER = "reporthub"
READER = "reader"
_OP_MSG = 2013
_HEADER = struct.Struct("<iiii")
_PAD = "x" * 200
_TIME_LIMIT, _INTERRUPTED = 50, 11601


@dataclass
class MongoDBServer(PrivateServer):
    """A running emulator with an account that may write and one, `reader`, that may only read."""

    home: Path
    port: int
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def create(self) -> None:
        """Make the accounts, then start with them: accounts are made while everybody is let in."""
        self._start()
        with pymongo.MongoClient[dict[str, Any]]("127.0.0.1", self.port) as client:
            for user, role in ((USER, "root"), (READER, "readAnyDatabase")):
                client.admin.command(
                    {"createUser": user, "pwd": PASSWORD, "roles": [{"role": role, "db": "admin"}]}
                )
        self.stop()
        self._start("--auth")

    def stop(self) -> None:
        """End it; idempotent."""
        if self._process is not None:
            stop(self._process)
            self._process = None

    def client(self) -> pymongo.MongoClient[dict[str, Any]]:
        """A client that may do everything, past the front."""
        return pymongo.MongoClient("127.0.0.1", self.port, username=USER, password=PASSWORD)

    def _start(self, *more: str) -> None:
        command = binary(str(Path(sys.executable).with_name("secantusd-py")), "secantusd-py")
        given = ["--host=127.0.0.1", f"--port={self.port}", f"--storage-path={self.home}", *more]
        self._process = started([command, *given], self.home / "secantus.log", self._answers, "secantusdb")

    def _answers(self) -> bool:
        with socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True


@dataclass
class MongoDBFront:
    """Passes messages on to the emulator, and itself answers what is asked of three collections.

    `numbers` has the documents `{"n": 1, "pad": "xxx…"}` and so on, up to the `$lte` of the filter's `n`;
    `wide` the same with 2,000 characters instead of 200;
    `stalled` answers nothing until its time is over, its session is killed or its client goes away.
    """

    behind: MongoDBServer
    database: str
    port: int = field(default_factory=free_port)
    _running: dict[int, _Cursor] = field(default_factory=dict)
    _sockets: list[socket.socket] = field(default_factory=list)
    _ids: Iterator[int] = field(default_factory=lambda: count(1))

    def start(self) -> None:
        """Listen; returns at once."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, daemon=True).start()

    def kill(self) -> None:
        """Break every connection off and take no more; idempotent."""
        for one in (self._listener, *self._sockets):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def url(self, user: str = USER) -> str:
        """The URL of the database, through the front."""
        secret = quote(PASSWORD, safe="")
        return f"mongodb://{user}:{secret}@127.0.0.1:{self.port}/{self.database}?authSource=admin&directConnection=true"

    def statements(self) -> list[str]:
        """The comments of the queries that run."""
        return [str(cursor.comment) for cursor in list(self._running.values())]

    def insert(self, collection: str, *documents: dict[str, Any]) -> None:
        """Put documents into a collection."""
        with self.behind.client() as client:
            client[self.database][collection].insert_many(documents)

    def documents(self, collection: str) -> list[dict[str, Any]]:
        """What a collection holds."""
        with self.behind.client() as client:
            return list(client[self.database][collection].find())

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._sockets.append(client)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError), client, socket.create_connection(("127.0.0.1", self.behind.port)) as server:
            self._sockets.append(server)
            while message := _message(client):
                _, request, _, operation = _HEADER.unpack(message[:16])
                command = bson.decode(message[21:]) if operation == _OP_MSG else {}
                answer = self._answer(command, client)
                if answer is None:
                    server.sendall(message)
                    client.sendall(_message(server))
                else:
                    body = struct.pack("<ib", 0, 0) + bson.encode(answer)
                    client.sendall(_HEADER.pack(16 + len(body), next(self._ids), request, _OP_MSG) + body)

    def _answer(self, command: dict[str, Any], client: socket.socket) -> dict[str, Any] | None:
        """What the front itself answers; None for what the emulator is to."""
        name = next(iter(command), "")
        if name == "find" and command["find"] in ("numbers", "wide", "stalled"):
            cursor = _Cursor(next(self._ids), command)
            self._running[cursor.id] = cursor
            if command["find"] == "stalled":
                return self._stall(cursor, command.get("maxTimeMS", 60_000) / 1000, client)
            return self._page(cursor, "firstBatch")
        if name == "getMore" and command["getMore"] in self._running:
            return self._page(self._running[command["getMore"]], "nextBatch")
        if name == "killSessions":
            killed = [one["id"] for one in command["killSessions"]]
            for one in list(self._running.values()):
                if one.session in killed:
                    del self._running[one.id]
            return {"ok": 1.0}
        return None

    def _page(self, cursor: _Cursor, key: str) -> dict[str, Any]:
        documents = cursor.next()
        identity = cursor.id if cursor.left else 0
        if not identity:
            self._running.pop(cursor.id, None)
        namespace = f"{self.database}.numbers"
        return {"cursor": {"id": bson.Int64(identity), "ns": namespace, key: documents}, "ok": 1.0}

    def _stall(self, cursor: _Cursor, seconds: float, client: socket.socket) -> dict[str, Any]:
        end = time.monotonic() + seconds
        while cursor.id in self._running and time.monotonic() < end:
            if select.select([client], [], [], 0.02)[0] and not client.recv(1, socket.MSG_PEEK):
                break
        code = _TIME_LIMIT if self._running.pop(cursor.id, None) else _INTERRUPTED
        return {"ok": 0.0, "errmsg": "operation was interrupted or exceeded time limit", "code": code}


class _Cursor:
    """One query of the front."""

    def __init__(self, identity: int, command: dict[str, Any]) -> None:
        self.id = identity
        self.comment = command.get("comment")
        self.session = command["lsid"]["id"]
        self.size = command.get("batchSize", 101)
        self.given = 0
        self.left = command["filter"].get("n", {}).get("$lte", 0)
        self.pad = _PAD * 10 if command["find"] == "wide" else _PAD

    def next(self) -> list[dict[str, Any]]:
        """The next page."""
        size = min(self.size, self.left)
        page = [{"n": self.given + number, "pad": self.pad} for number in range(1, size + 1)]
        self.given += size
        self.left -= size
        return page


def _message(source: socket.socket) -> bytes:
    """One message of the wire protocol; empty at the end."""
    head = _exactly(source, 4)
    return head + _exactly(source, struct.unpack("<i", head)[0] - 4) if head else b""


def _exactly(source: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = source.recv(size - len(data))
        if not piece:
            return b""
        data += piece
    return data


@pytest.fixture(scope="session")
def mongodb_server() -> Iterator[MongoDBServer]:
    """The emulator, as long as the test session lives."""
    with private("mongodb", MongoDBServer) as server:
        yield server


@pytest.fixture
def mongodb_front(mongodb_server: MongoDBServer) -> Iterator[MongoDBFront]:
    """A front with a database of its own for one test."""
    front = MongoDBFront(mongodb_server, f"test_{os.urandom(6).hex()}")
    front.start()
    yield front
    front.kill()
