"""Drivers that are built on requests or urllib3, and servers that say nothing, or never stop."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest
import requests
from botocore.exceptions import BotoCoreError
from urllib3.exceptions import HTTPError

from reporthub_dagster.network import requests_session
from reporthub_dagster.network.egress import EgressPolicy
from reporthub_dagster.network.requests_session import GuardedAdapter, guard
from reporthub_dagster.network.s3_client import s3_client
from reporthub_dagster_tests.network.test_http_client import CHUNKED, OK, answering

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


DRIPS = pytest.mark.parametrize(
    "begin", [OK + b"X-Name: ", CHUNKED + b"5;"], ids=["header", "size of a chunk"]
)
ENDLESS = b'{"id": "' + b"x" * (1 << 20)


@DRIPS
def test_an_answer_in_drops_ends_with_the_time(begin: bytes) -> None:
    with answering(begin, drop=b"a") as url, pytest.raises(TimeOverError):
        _session(0.5, TimeOverError()).get(url)


def test_a_body_without_an_end_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests_session, "MOST_BYTES", 5_000_000)
    with (
        answering(OK + b"\r\n", drop=ENDLESS, pause=0) as url,
        pytest.raises(requests.RequestException, match="more than 5,000,000 bytes"),
    ):
        _session(30.0, 30.0).get(url)


def _listed(url: str, answer_seconds: float) -> None:
    client = s3_client(
        _OPEN,
        5.0,
        region=None,
        endpoint_url=url.rstrip("/"),
        access_key="a",
        secret_key="b",
        session_token=None,
        ca_file=None,
        answer_seconds=lambda: answer_seconds,
    )
    client.list_objects_v2(Bucket="b")


@DRIPS
def test_a_list_of_a_bucket_in_drops_ends_with_the_time(begin: bytes) -> None:
    with answering(begin, drop=b"a") as url, pytest.raises((BotoCoreError, HTTPError)):
        _listed(url, 0.5)


def test_a_list_of_a_bucket_without_an_end_is_not_kept() -> None:
    with answering(OK + b"\r\n", drop=ENDLESS, pause=0) as url, pytest.raises((BotoCoreError, HTTPError)):
        _listed(url, 60)
