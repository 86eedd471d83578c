"""Answers of servers that mean harm: without an end, in drops, or packed so that little becomes much."""

from __future__ import annotations

import gzip
import socket
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import httpx
import pytest

from reporthub_dagster.network.egress import EgressPolicy
from reporthub_dagster.network.http_client import decoded, http_client

POLICY = EgressPolicy.parse("default", "127.0.0.1")
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
ZEROS = 40_000_000


@contextmanager
def answering(*pieces: bytes, drop: bytes = b"", pause: float = 0.05) -> Iterator[str]:
    """A server that says `pieces` to everybody, then `drop` again and again; gives its URL."""
    over = threading.Event()

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = server.accept()
                with connection, suppress(OSError):
                    connection.recv(65_536)
                    connection.sendall(b"".join(pieces))
                    while drop and not over.wait(pause):
                        connection.sendall(drop)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}/"
        finally:
            over.set()
            server.shutdown(socket.SHUT_RDWR)
    thread.join()


def body(url: str, answer_seconds: Callable[[], float] | None = None) -> Iterator[bytes]:
    with (
        http_client(POLICY, 5, answer_seconds=answer_seconds) as client,
        client.stream("GET", url) as response,
    ):
        yield from decoded(response)


def packed(content: bytes, coding: str) -> bytes:
    return OK + f"Content-Encoding: {coding}\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content


@pytest.mark.parametrize(
    ("begin", "drop"),
    [
        (OK + b"X-Name: ", b"a"),
        (CHUNKED + b"5;", b"a"),
        (CHUNKED + b"2\r\n[]\r\n0\r\n", b"X: y\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (OK + b"\r\n", b"a"),
    ],
    ids=["header", "size of a chunk", "trailer", "interim answers", "body"],
)
def test_an_answer_in_drops_ends_at_its_time_limit(begin: bytes, drop: bytes) -> None:
    started = time.monotonic()

    with answering(begin, drop=drop) as url, pytest.raises(httpx.ReadTimeout):
        list(body(url, lambda: 0.5))

    assert time.monotonic() - started < 3


def test_each_answer_has_the_whole_time() -> None:
    with answering(OK + b"Content-Length: 2\r\n\r\n[]") as url, http_client(POLICY, 1) as client:
        for _ in range(3):
            assert client.get(url).text == "[]"
            time.sleep(0.4)


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "deflate", "GZIP", "identity", ""])
def test_what_is_packed_is_read(coding: str) -> None:
    content = b'{"n": 1}' * 1000
    packed_content = {"": content, "identity": content, "deflate": zlib.compress(content)}

    with answering(packed(packed_content.get(coding, gzip.compress(content)), coding)) as url:
        assert b"".join(body(url)) == content


def test_little_that_becomes_much_comes_in_small_pieces() -> None:
    answer = packed(gzip.compress(bytes(ZEROS)), "gzip")
    tracemalloc.start()
    with answering(answer) as url:
        assert sum(map(len, body(url))) == ZEROS
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < ZEROS / 4


@pytest.mark.parametrize("coding", ["gzip, gzip", "zstd", "br", "nonsense"])
def test_what_nobody_asked_for_is_not_unpacked(coding: str) -> None:
    with (
        answering(packed(gzip.compress(b"x"), coding)) as url,
        pytest.raises(httpx.DecodingError, match="packed as"),
    ):
        list(body(url))


@pytest.mark.parametrize(
    ("content", "error"),
    [(gzip.compress(b"x" * 1000)[:-9], httpx.RemoteProtocolError), (b"no gzip", httpx.DecodingError)],
)
def test_what_is_packed_badly_is_no_whole_answer(content: bytes, error: type[Exception]) -> None:
    with answering(packed(content, "gzip")) as url, pytest.raises(error):
        list(body(url))
