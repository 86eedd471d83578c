"""A real HTTP server in the test process: keeps every request that came whole, has faults on demand."""

from __future__ import annotations

import json
import ssl
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import Message
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

import pytest

HOST = "127.0.0.1"
Cut = Literal["before", "during", "after", "hang"]
"""Cut the connection before the body is read, in its middle, or after it with no answer; or say nothing."""


@dataclass(frozen=True)
class Answer:
    """What a request is answered."""

    code: int
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""


@dataclass(frozen=True)
class Request:
    """A request that came whole."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = field(repr=False)

    @cached_property
    def parts(self) -> list[tuple[Message, bytes]]:
        """The parts of `multipart/form-data`, cut at the boundary (RFC 2046, 5.1.1): headers and content."""
        boundary = self.headers["content-type"].partition("boundary=")[2]
        before, *parts, after = (b"\r\n" + self.body).split(f"\r\n--{boundary}".encode())
        assert (before, after) == (b"", b"--\r\n")
        cut = [part.removeprefix(b"\r\n").partition(b"\r\n\r\n") for part in parts]
        return [(message_from_bytes(head, policy=policy.HTTP), content) for head, _, content in cut]

    @property
    def is_multipart(self) -> bool:
        return self.headers.get("content-type", "").startswith("multipart/")

    @property
    def document(self) -> Any:
        """The JSON document, alone or as the part `payload`."""
        return json.loads(self.parts[0][1] if self.is_multipart else self.body)

    @cached_property
    def files(self) -> dict[str, bytes]:
        """File name → bytes."""
        parts = self.parts[1:] if self.is_multipart else []
        return {_file_name(head): content for head, content in parts}


class WebServer:
    """Answers 200, or what `answers` (by recipient) and `cuts` (in order) say."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[Request] = []
        self.connections = 0
        self.cuts: deque[Cut] = deque()
        self.answers: dict[str, deque[Answer]] = {}
        """Recipient, or `*` for everybody → the next answers."""
        self._stop = threading.Event()
        self._server = _server(self)
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_port
        self.url = f"{'https' if tls else 'http'}://{HOST}:{self.port}/hook"

    def answer(self, recipient: str, *answers: Answer) -> None:
        """What the next requests for a recipient are answered."""
        self.answers.setdefault(recipient, deque()).extend(answers)

    def to(self, recipient: str) -> list[Request]:
        """What was taken for a recipient, by the default document."""
        return [request for request in self.requests if request.document["data"]["recipient"] == recipient]

    @contextmanager
    def running(self) -> Iterator[WebServer]:
        """Serve from threads of its own until the block ends."""
        thread = threading.Thread(
            target=self._server.serve_forever, name="web", kwargs={"poll_interval": 0.02}
        )
        thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            self._server.shutdown()
            self._server.server_close()
            thread.join(10)

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        """One request."""
        cut = self.cuts.popleft() if self.cuts else None
        if cut == "before":
            handler.close_connection = True
            return
        length = int(handler.headers.get("content-length") or 0)
        body = handler.rfile.read(length // 2 if cut == "during" else length)
        if cut == "during" or len(body) < length:
            handler.close_connection = True
            return
        headers = {name.lower(): value for name, value in handler.headers.items()}
        request = Request(handler.command, handler.path, headers, body)
        answer = None if cut else self._next_answer(request)
        if answer is None or answer.code < 300:
            self.requests.append(request)
        if cut == "hang":
            self._stop.wait(30)
        if cut:
            handler.close_connection = True
            return
        _say(handler, answer or Answer(200, body="ok"))

    def _next_answer(self, request: Request) -> Answer | None:
        names = ["*"]
        if self.answers.keys() - {"*"}:
            names.append(request.document["data"]["recipient"])
        queues = (self.answers.get(name) for name in names)
        return next((queue.popleft() for queue in queues if queue), None)


def _server(owner: WebServer) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            owner.connections += 1
            super().setup()

        def do_POST(self) -> None:
            owner.handle(self)

        do_GET = do_PUT = do_PATCH = do_POST  # noqa: N815 - the base class's names

        def log_message(self, *_: object) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """A client that hung up is no fault of the server."""

    return Quiet((HOST, 0), Handler)


def _say(handler: BaseHTTPRequestHandler, answer: Answer) -> None:
    body = answer.body.encode()
    handler.send_response(answer.code)
    for name, value in {**answer.headers, "Content-Length": str(len(body))}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


def _file_name(head: Message) -> str:
    """As browsers escape it: UTF-8, with the quotation mark as %22."""
    raw = str(head["content-disposition"]).partition('filename="')[2].rpartition('"')[0]
    return raw.replace("%22", '"')


@pytest.fixture
def start_web_server() -> Iterator[Callable[..., WebServer]]:
    """Starts HTTP servers; all end with the test."""
    with ExitStack() as running:
        yield lambda **options: running.enter_context(WebServer(**options).running())


@pytest.fixture
def web_server(start_web_server: Callable[..., WebServer]) -> WebServer:
    """Plain HTTP that takes everything."""
    return start_web_server()
