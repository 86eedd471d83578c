"""What a driver that is built on requests is told when the server says nothing until the time is over."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest
import requests

from reporthub_dagster.network.egress import EgressPolicy
from reporthub_dagster.network.requests_session import GuardedAdapter, guard

_OPEN = EgressPolicy.parse("default", "127.0.0.1")


class TimeOverError(Exception):
    """What the clock of a query raises."""


@pytest.fixture(
    params=["", "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf"], ids=["at once", "in the body"]
)
def silent_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Of a server that falls silent at a moment, and keeps its connection."""
    done = threading.Event()

    def serve() -> None:
        with suppress(OSError), listener.accept()[0] as client:
            client.recv(65_536)
            client.sendall(request.param.encode())
            done.wait(30)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        done.set()
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def _session(*left: float | TimeOverError) -> requests.Session:
    """A session whose clock says this, each time that it is asked."""
    words = iter(left)

    def clock() -> float:
        word = next(words)
        if isinstance(word, TimeOverError):
            raise word
        return word

    session = requests.Session()
    guard(session, GuardedAdapter(_OPEN, ssl.create_default_context(), 5.0, clock))
    return session


def test_silence_until_the_time_is_over_is_no_lost_connection(silent_url: str) -> None:
    with pytest.raises(TimeOverError):
        _session(0.2, TimeOverError()).get(silent_url)


def test_silence_with_time_left_is_told_as_it_is(silent_url: str) -> None:
    with pytest.raises(requests.RequestException, match="Read timed out"):
        _session(0.2, 3.0).get(silent_url)
